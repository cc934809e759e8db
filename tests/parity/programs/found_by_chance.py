"""What programs drawn at random have once shown to differ."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from parity.models import Data, Loaded, Trained, Whole, loader
from parity.programs.checkpoints import files
from parity.recording import Seen, program


@program
def a_weight_used_twice_in_mixed_precision(seen: Seen) -> None:
    """What its gradients add up to depends on the type that they are added in."""

    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) + self.loss(batch)

    seen.trainer(precision="bf16-mixed").fit(seen.watched(Model()), loader())


@program
def minus_one_makes_a_batch_the_last(seen: Seen) -> None:
    class Model(Trained):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if batch_idx == 2 else None

        def on_train_epoch_end(self) -> None:
            seen.values.setdefault("last", []).append(self.trainer.is_last_batch)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def validation_loaders_are_made_when_they_are_needed(seen: Seen) -> None:
    trainer = seen.trainer(num_sanity_val_steps=0, check_val_every_n_epoch=3, max_epochs=2)
    trainer.fit(seen.watched(Loaded()))
    trainer.fit_loop.max_epochs = 3
    trainer.fit(trainer.lightning_module)


@program
def what_training_came_to_is_known_after_a_test(seen: Seen) -> None:
    class Model(Loaded):
        def on_train_epoch_end(self) -> None:
            self.trainer.should_stop = True

    trainer = seen.trainer(max_epochs=3, limit_train_batches=3)
    model = seen.watched(Model())
    trainer.fit(model)
    trainer.test(model, verbose=False)
    seen.values["after"] = (trainer.num_training_batches, trainer.is_last_batch, trainer.should_stop)


@program
def one_name_of_two_hooks(seen: Seen) -> None:
    class Model(Whole):
        def on_validation_start(self) -> None:
            self.log("twice", 1.0, prog_bar=True)

        def on_validation_batch_end(self, *args: Any) -> None:
            self.log("twice", 2.0)

        def on_train_epoch_end(self) -> None:
            bar, logged = self.trainer.progress_bar_metrics, self.trainer.logged_metrics
            seen.values.setdefault("noted", []).append([dict(bar), dict(logged)])

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


@program
def the_same_number_of_two_hooks(seen: Seen) -> None:
    """The later hook's value counts, also where it is the very object that it logged before."""
    number = 3.5

    class Model(Trained):
        def on_before_zero_grad(self, optimizer: Any) -> None:
            self.log("twice", float(self.global_step))

        def on_after_backward(self) -> None:
            self.log("twice", number)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.values.setdefault("noted", []).append(self.trainer.callback_metrics["twice"])

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def a_monitor_of_a_validation_that_never_comes(seen: Seen) -> None:
    callback = ModelCheckpoint(dirpath=seen.folder / "kept", monitor="val_loss", save_on_train_epoch_end=True)
    seen.trainer(max_steps=2, callbacks=[callback]).fit(seen.watched(Whole()), loader(), loader(4))
    seen.values["files"] = files(seen)


@program
def a_save_that_waits_for_a_validation(seen: Seen) -> None:
    """Due at the end of an epoch of four batches, it waits for the validation after the next epoch's third."""
    callback = ModelCheckpoint(dirpath=seen.folder / "kept", monitor="val_loss", every_n_train_steps=2, save_top_k=-1)
    trainer = seen.trainer(val_check_interval=3, callbacks=[callback])
    trainer.fit(seen.watched(Whole()), loader(), loader(4))
    seen.values["files"] = files(seen)


@program
def a_second_fit_makes_its_loaders_once(seen: Seen) -> None:
    trainer = seen.trainer(num_sanity_val_steps=0, reload_dataloaders_every_n_epochs=1)
    model = seen.watched(Loaded())
    trainer.fit(model)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model)


@program
def accumulation_that_a_hook_has_chosen_lasts(seen: Seen) -> None:
    class Model(Trained):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                self.trainer.accumulate_grad_batches = 3

    trainer = seen.trainer(max_epochs=2)
    model = seen.watched(Model())
    trainer.fit(model, loader())
    trainer.validate(seen.watched(Whole()), loader(4), verbose=False)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, loader())


@program
def a_resumed_run_reloads_in_the_epochs_of_a_whole_one(seen: Seen) -> None:
    resumed(seen, reload_dataloaders_every_n_epochs=1)


@program
def a_data_module_without_a_state_is_not_asked_to_load_one(seen: Seen) -> None:
    resumed(seen)


def resumed(seen: Seen, **options: Any) -> None:
    class Still(Whole):
        dropout = 0.0

    class Ordered(Data):
        def train_dataloader(self) -> Any:
            return loader(8)

    saving = ModelCheckpoint(dirpath=seen.folder / "kept")
    trainer = seen.trainer(num_sanity_val_steps=0, callbacks=[saving], **options)
    trainer.fit(seen.watched(Still()), datamodule=seen.watched(Ordered(), "data"))
    (path,) = (seen.folder / "kept").iterdir()
    trainer = seen.trainer(num_sanity_val_steps=0, max_epochs=3, **options)
    trainer.fit(seen.watched(Still()), datamodule=seen.watched(Ordered(), "data"), ckpt_path=path)
