"""The course of a fit."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from parity.models import Data, Loaded, Trained, Whole, loader
from parity.recording import Seen, program


@program
def training_alone(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Trained()), loader())


@program
def training_and_validation(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Whole()), loader(), loader(4))


@program
def loaders_of_the_module(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Loaded()))


@program
def loaders_of_a_data_module(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Whole()), datamodule=seen.watched(Data(), "data"))


@program
def a_step_that_gives_a_dict(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.loss(batch), "extra": torch.tensor(batch_idx)}

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.values[f"outputs-{self.current_epoch}-{batch_idx}"] = outputs

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def a_step_that_skips_some_batches(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx % 2 else self.loss(batch)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def a_step_without_the_batch_index(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any) -> Any:  # type: ignore[override]  # Lightning allows it
            return self.loss(batch)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def minus_one_skips_the_rest_of_the_epoch(seen: Seen) -> None:
    class Model(Whole):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if batch_idx == 2 else None

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


@program
def should_stop_in_mid_epoch(seen: Seen) -> None:
    class Model(Whole):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = batch_idx == 1

    seen.trainer(max_epochs=5).fit(seen.watched(Model()), loader(), loader(4))


@program
def should_stop_waits_for_min_epochs(seen: Seen) -> None:
    class Model(Trained):
        def on_train_epoch_end(self) -> None:
            self.trainer.should_stop = True

    seen.trainer(max_epochs=5, min_epochs=3).fit(seen.watched(Model()), loader())


@program
def should_stop_waits_for_min_steps(seen: Seen) -> None:
    class Model(Trained):
        def on_train_epoch_end(self) -> None:
            self.trainer.should_stop = True

    seen.trainer(max_epochs=5, min_steps=6).fit(seen.watched(Model()), loader())


@program
def max_steps_ends_in_mid_epoch(seen: Seen) -> None:
    seen.trainer(max_epochs=-1, max_steps=6).fit(seen.watched(Whole()), loader(), loader(4))


@program
def no_epochs_at_all(seen: Seen) -> None:
    seen.trainer(max_epochs=0).fit(seen.watched(Whole()), loader(), loader(4))


@program
def a_second_fit_of_the_same_trainer(seen: Seen) -> None:
    model = seen.watched(Trained())
    trainer = seen.trainer(max_epochs=1)
    trainer.fit(model, loader())
    trainer.fit(model, loader())


@program
def an_exception_in_training_step(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                raise ValueError("broken")
            return super().training_step(batch, batch_idx)

    seen.trainer().fit(seen.watched(Model()), loader(), datamodule=None)


@program
def an_exception_reaches_the_data_module(seen: Seen) -> None:
    class Model(Whole):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ValueError("broken")

    seen.trainer().fit(seen.watched(Model()), datamodule=seen.watched(Data(), "data"))


@program
def batch_transfer_hooks_change_the_batch(seen: Seen) -> None:
    class Model(Whole):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] + 1, batch[1]]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] * 2, batch[1]]

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader(), loader(4))


@program
def submodules_keep_their_mode(seen: Seen) -> None:
    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
            self.frozen.eval()

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            seen.values.setdefault("modes", []).append((self.training, self.frozen.training, self.network.training))

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


@program
def configure_model_makes_the_layers(seen: Seen) -> None:
    class Model(Trained):
        def configure_model(self) -> None:
            if not hasattr(self, "more"):
                self.more = nn.Linear(4, 4)

        def forward(self, inputs: Any) -> Any:
            return self.network(self.more(inputs))

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader())


@program
def hyperparameters_go_to_loggers(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self, lr: float = 0.1, depth: int = 2, names: tuple[str, ...] = ("a", "b")) -> None:
            super().__init__(lr)
            self.save_hyperparameters(ignore="names")

    model = seen.watched(Model(depth=3))
    seen.values["hparams"] = dict(model.hparams)
    seen.trainer(max_epochs=1).fit(model, loader())


@program
def a_module_that_was_frozen(seen: Seen) -> None:
    model = seen.watched(Trained())
    for parameter in model.network[0].parameters():
        parameter.requires_grad = False
    seen.trainer().fit(model, loader())


@program
def seeded_runs(seen: Seen) -> None:
    seen.values["seed"] = pl.seed_everything(3)
    seen.trainer().fit(seen.watched(Loaded()))


@program
def a_learning_rate_is_found(seen: Seen) -> None:
    from lightning.pytorch.tuner import Tuner

    class Model(Trained):
        dropout = 0.0

    model = Model()
    trainer = pl.Trainer(accelerator="cpu", enable_progress_bar=False, logger=False, default_root_dir=seen.folder)
    found = Tuner(trainer).lr_find(model, loader(80), num_training=30, min_lr=1e-4, max_lr=5.0)
    seen.values["results"] = found.results
    seen.values["suggestion"] = [found.suggestion(), found.suggestion(skip_begin=3, skip_end=5), model.lr]
    seen.modules.append(model)


@program
def a_method_by_the_name_of_an_older_hook(seen: Seen) -> None:
    class Model(Whole):
        def on_epoch_end(self, outputs: list[Any]) -> None:
            seen.values["outputs"] = outputs

        def on_train_epoch_end(self) -> None:
            self.on_epoch_end([self.current_epoch])

    class Watching(pl.Callback):
        def on_epoch_start(self, run: Any, name: str, epoch: int) -> None:
            raise AssertionError("a method of its own")

    seen.trainer(callbacks=[Watching()]).fit(seen.watched(Model()), loader(), loader(4))


@program
def hooks_and_loaders_draw_random_numbers(seen: Seen) -> None:
    def drawing(name: str) -> Any:
        def hook(self: Any, *args: Any) -> None:
            drawn.append([name, float(torch.rand(()))])

        return hook

    class Model(Whole):
        def train_dataloader(self) -> Any:
            drawn.append(float(torch.rand(())))
            return loader(8, shuffle=True)

        def val_dataloader(self) -> Any:
            drawn.append(float(torch.rand(())))
            return [loader(4), loader(2)]

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return super().validation_step(batch, batch_idx)

    drawn = seen.values.setdefault("drawn", [])
    for name in (
        "fit_start",
        *(f"{stage}_{at}" for stage in ("train", "validation") for at in ("start", "epoch_start")),
    ):
        setattr(Model, f"on_{name}", drawing(name))
    for name in ("train_batch_start", "validation_batch_start", "train_epoch_end"):
        setattr(Model, f"on_{name}", drawing(name))
    for checks in (0, 1):
        seen.trainer(num_sanity_val_steps=checks, max_epochs=3).fit(seen.watched(Model()))


@program
def hooks_and_callbacks_that_come_late(seen: Seen) -> None:
    called = seen.values.setdefault("called", [])

    class Late(pl.Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            called.append(f"{self.name} train")

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            called.append(f"{self.name} epoch")

    class Adding(pl.Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.callbacks.append(Late("fit"))
            self.average = 1.0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            step = pl_module.training_step
            pl_module.training_step = lambda batch, batch_idx: called.append("wrapped") or step(batch, batch_idx)

        def state_dict(self) -> Any:
            return {"average": self.average}

    class Model(Trained):
        def setup(self, stage: Any) -> None:
            called.append((stage.value, self.trainer.training, self.trainer.estimated_stepping_batches))
            self.trainer.callbacks.append(Late("setup"))
            self.on_train_epoch_end = lambda: called.append("instance")

        def configure_callbacks(self) -> Any:
            return None

    seen.trainer(callbacks=[Adding()]).fit(seen.watched(Model()), loader(4))
