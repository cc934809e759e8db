"""Checkpoints: which are kept, what is in them, and what a run does with one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from parity.models import Scripted, Trained, Whole, loader
from parity.recording import Seen, different, program


def files(seen: Seen) -> list[str]:
    return sorted(str(path.relative_to(seen.folder)) for path in seen.folder.rglob("*.ckpt"))


def kept(seen: Seen, script: list[float], **options: Any) -> None:
    callback = ModelCheckpoint(dirpath=seen.folder / "kept", **options)
    trainer = seen.trainer(max_epochs=len(script), num_sanity_val_steps=0, callbacks=[callback])
    trainer.fit(seen.watched(Scripted(script)), loader(4), loader(4))
    seen.values["files"] = files(seen)
    seen.values["best"] = (Path(callback.best_model_path).name, callback.best_model_score)
    seen.values["last"] = Path(callback.last_model_path).name


@program
def the_newest_is_kept(seen: Seen) -> None:
    kept(seen, [3.0, 2.0, 4.0])


@program
def the_best_is_kept(seen: Seen) -> None:
    kept(seen, [3.0, 2.0, 4.0], monitor="scripted")


@program
def the_two_best_are_kept(seen: Seen) -> None:
    kept(seen, [1.0, 5.0, 3.0, 4.0], monitor="scripted", mode="max", save_top_k=2)


@program
def all_are_kept(seen: Seen) -> None:
    kept(seen, [3.0, 2.0, 4.0], save_top_k=-1)


@different("last.ckpt is the newest state, also where that is not among the best and Lightning leaves an older one")
def the_last_is_kept_too(seen: Seen) -> None:
    kept(seen, [1.0, 2.0, 3.0], monitor="scripted", save_last=True)


@program
def names_of_files(seen: Seen) -> None:
    kept(seen, [1.5, 2.25], save_top_k=-1, filename="run-{epoch:02d}-{scripted:.2f}")


@program
def names_of_files_without_names_of_metrics(seen: Seen) -> None:
    kept(seen, [1.5, 2.25], save_top_k=-1, filename="e{epoch}_s{scripted:.1f}", auto_insert_metric_name=False)


@program
def every_few_steps_a_checkpoint(seen: Seen) -> None:
    callback = ModelCheckpoint(dirpath=seen.folder / "kept", every_n_train_steps=3, save_top_k=-1)
    seen.trainer(callbacks=[callback]).fit(seen.watched(Trained()), loader())
    seen.values["files"] = files(seen)


@program
def ties_and_nan_among_the_best(seen: Seen) -> None:
    kept(seen, [2.0, float("nan"), 2.0, 1.0, 2.0], monitor="scripted", save_top_k=2)


@program
def the_last_is_a_link(seen: Seen) -> None:
    kept(seen, [3.0, 1.0], save_last="link", monitor="scripted")
    seen.values["link"] = (seen.folder / "kept" / "last.ckpt").resolve().name


@program
def files_of_an_earlier_run_are_left_alone(seen: Seen) -> None:
    for _ in range(2):
        kept(seen, [2.0], filename="same")


@program
def files_of_an_earlier_run_are_replaced(seen: Seen) -> None:
    for _ in range(2):
        kept(seen, [2.0], filename="same", enable_version_counter=False)


@program
def every_few_steps_by_a_metric(seen: Seen) -> None:
    callback = ModelCheckpoint(dirpath=seen.folder / "kept", every_n_train_steps=2, monitor="loss", save_top_k=2)
    seen.trainer(callbacks=[callback]).fit(seen.watched(Trained()), loader())
    seen.values["files"] = files(seen)
    seen.values["worst"] = (Path(callback.kth_best_model_path).name, callback.kth_value)


@program
def a_checkpoint_of_a_run_that_breaks(seen: Seen) -> None:
    class Breaking(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.global_step == 6:
                raise ValueError("broken")
            return super().training_step(batch, batch_idx)

    callback = ModelCheckpoint(dirpath=seen.folder / "kept", save_on_exception=True, every_n_epochs=10)
    try:
        seen.trainer(callbacks=[callback]).fit(seen.watched(Breaking()), loader())
    except ValueError:
        seen.values["broken"] = True
    seen.values["files"] = files(seen)


@program
def every_second_epoch_a_checkpoint(seen: Seen) -> None:
    kept(seen, [3.0, 2.0, 4.0, 1.0], every_n_epochs=2, save_top_k=-1)


@program
def weights_only(seen: Seen) -> None:
    trainer = seen.trainer()
    trainer.fit(seen.watched(Trained()), loader())
    trainer.save_checkpoint(seen.folder / "one.ckpt", weights_only=True)
    seen.values["keys"] = sorted(set(torch.load(seen.folder / "one.ckpt", weights_only=True)) - {"leyden"})


@different("a run that resumes begins with its first step: its validation loop has run before, so no sanity check")
def resumed_with_a_sanity_check(seen: Seen) -> None:
    resumed(seen, num_sanity_val_steps=2)


@program
def resumed_after_an_epoch(seen: Seen) -> None:
    resumed(seen, num_sanity_val_steps=0)


@different("a run that resumes draws on from where its generators stood, so that it ends like one never interrupted")
def resumed_with_dropout(seen: Seen) -> None:
    resumed(seen, num_sanity_val_steps=0, share=0.2)


def resumed(seen: Seen, num_sanity_val_steps: int, share: float = 0.0) -> None:
    class Model(Whole):
        dropout = share

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    first = seen.trainer(max_epochs=2)
    first.fit(Model(), loader(), loader(4))
    first.save_checkpoint(seen.folder / "one.ckpt")
    torch.manual_seed(3)
    trainer = seen.trainer(max_epochs=4, num_sanity_val_steps=num_sanity_val_steps)
    trainer.fit(seen.watched(Model()), loader(), loader(4), ckpt_path=seen.folder / "one.ckpt")


@program
def weights_of_a_checkpoint_are_tested(seen: Seen) -> None:
    first = seen.trainer(max_epochs=1)
    first.fit(Whole(), loader())
    first.save_checkpoint(seen.folder / "one.ckpt")
    trainer = seen.trainer()
    seen.values["test"] = trainer.test(
        seen.watched(Whole()), loader(4), ckpt_path=seen.folder / "one.ckpt", verbose=False
    )


@program
def the_best_is_tested(seen: Seen) -> None:
    callback = ModelCheckpoint(dirpath=seen.folder / "kept", monitor="scripted")
    trainer = seen.trainer(max_epochs=3, num_sanity_val_steps=0, callbacks=[callback])
    trainer.fit(seen.watched(Scripted([3.0, 1.0, 2.0])), loader(4), loader(4))
    seen.values["test"] = trainer.test(dataloaders=loader(4), ckpt_path="best", verbose=False)
    seen.values["by default"] = trainer.test(dataloaders=loader(4), verbose=False)


@program
def a_way_to_storage_of_ones_own(seen: Seen) -> None:
    from lightning.pytorch.plugins import CheckpointIO, TorchCheckpointIO

    calls = seen.values.setdefault("calls", [])

    class Noting(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            calls.append(("save", Path(path).name, checkpoint["global_step"], storage_options))
            super().save_checkpoint(checkpoint, path)

        def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(("load", Path(path).name))
            return super().load_checkpoint(path, *args, **kwargs)

        def remove_checkpoint(self, path: Any) -> None:
            calls.append(("remove", Path(path).name))
            super().remove_checkpoint(path)

        def teardown(self) -> None:
            calls.append("teardown")

    callback = ModelCheckpoint(seen.folder / "kept", "{epoch}", monitor="scripted", save_top_k=2)
    trainer = seen.trainer(max_epochs=4, callbacks=[callback], plugins=[Noting()])
    trainer.fit(seen.watched(Scripted([3.0, 2.0, 4.0, 1.0])), loader(4), loader(4))
    trainer.save_checkpoint(seen.folder / "own.ckpt", storage_options={"tier": "cold"})
    trainer.validate(dataloaders=loader(4), ckpt_path=seen.folder / "own.ckpt", verbose=False)
    seen.values["kept"] = sorted(path.name for path in (seen.folder / "kept").iterdir())
    seen.values["is"] = [isinstance(trainer.strategy.checkpoint_io, kind) for kind in (CheckpointIO, Noting)]
    longer = pl.Trainer(accelerator="cpu", logger=False, max_epochs=5, enable_checkpointing=False, plugins=Noting())
    longer.fit(Scripted([0.0] * 9), loader(4), loader(4), ckpt_path=seen.folder / "own.ckpt")
    seen.values["steps"] = longer.global_step


@program
def a_way_to_storage_behind_the_trainings_back(seen: Seen) -> None:
    from lightning.pytorch.plugins import AsyncCheckpointIO

    callback = ModelCheckpoint(seen.folder / "kept", "{epoch}", save_top_k=-1)
    trainer = seen.trainer(max_epochs=2, callbacks=[callback], plugins=[AsyncCheckpointIO()])
    trainer.fit(seen.watched(Trained()), loader(4))
    kept = sorted((seen.folder / "kept").iterdir())
    seen.values["kept"] = [(path.name, torch.load(path, weights_only=True)["global_step"]) for path in kept]


@program
def a_checkpoint_of_another_module(seen: Seen) -> None:
    trainer = seen.trainer(max_epochs=1)
    trainer.fit(Trained(), loader())
    trainer.save_checkpoint(seen.folder / "one.ckpt")

    class Other(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.more = torch.nn.Linear(2, 2)

    Other.load_from_checkpoint(seen.folder / "one.ckpt")


@program
def a_checkpoint_that_is_not_there(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Trained()), loader(), ckpt_path=seen.folder / "none.ckpt")


@program
def a_callback_of_the_users_own_that_saves(seen: Seen) -> None:
    from lightning.pytorch.callbacks import Checkpoint

    class Kept(Checkpoint):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            order.append(("saves", sorted(trainer.callback_metrics)))
            trainer.save_checkpoint(seen.folder / f"{trainer.current_epoch}.ckpt")

    class Last(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            order.append("other")

    order = seen.values.setdefault("order", [])
    trainer = seen.trainer(max_epochs=2, callbacks=[Kept(), Last()], enable_checkpointing=None)
    trainer.fit(seen.watched(Trained()), loader(8))
    seen.values["saving"] = [type(callback).__name__ for callback in trainer.checkpoint_callbacks]
    seen.values["is"] = [issubclass(kind, Checkpoint) for kind in (ModelCheckpoint, pl.callbacks.OnExceptionCheckpoint)]
    seen.values["files"] = sorted(path.name for path in seen.folder.rglob("*.ckpt"))
    trainer.validate(Whole(), loader(4), ckpt_path=seen.folder / "1.ckpt", verbose=False)


@program
def a_file_of_the_exception_alone(seen: Seen) -> None:
    class Breaks(Trained):
        def on_train_epoch_end(self) -> None:
            if self.current_epoch == 1:
                raise ValueError("broken")

    saver = pl.callbacks.OnExceptionCheckpoint(seen.folder / "kept")
    seen.values["runs"] = []
    for module in (Breaks(), Trained(), Trained()):
        trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[saver], max_epochs=3)
        with contextlib.suppress(ValueError):
            trainer.fit(module, loader(8))
        began = Path(trainer.ckpt_path).name if trainer.ckpt_path else None
        seen.values["runs"].append([began, trainer.global_step, files(seen)])


@program
def steps_are_monitored(seen: Seen) -> None:
    options = {"monitor": "step", "mode": "max", "save_top_k": 2, "every_n_train_steps": 2}
    callback = ModelCheckpoint(seen.folder / "kept", "{step}", **options)
    seen.trainer(callbacks=[callback]).fit(seen.watched(Trained()), loader(10))
    seen.values["kept"] = files(seen)
    seen.values["best"] = Path(callback.best_model_path).name


@program
def all_are_kept_under_one_name(seen: Seen) -> None:
    callback = ModelCheckpoint(seen.folder / "kept", "same", monitor="epoch", save_top_k=-1)
    callback.STARTING_VERSION = 9
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[callback], max_epochs=2)
    trainer.fit(Trained(), loader(4))
    trainer.fit_loop.max_epochs = 4
    trainer.fit(Trained(), loader(4))
    seen.values["kept"] = [files(seen), sorted(Path(path).name for path in callback.best_k_models)]
    seen.values["default"] = Path(ModelCheckpoint("").format_checkpoint_name({"epoch": 1, "step": 2})).name


@program
def layers_made_in_configure_model(seen: Seen) -> None:
    class Late(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.network: Any = None

        def configure_model(self) -> None:
            seen.values["made"] = seen.values.get("made", 0) + 1
            self.network = self.network or torch.nn.Linear(4, 1)

    trainer = seen.trainer(max_epochs=1)
    trainer.fit(Late(), loader(4))
    trainer.save_checkpoint(seen.folder / "late.ckpt")
    seen.values["loaded"] = sorted(Late.load_from_checkpoint(seen.folder / "late.ckpt").state_dict())


@program
def files_in_folders_of_a_metrics_name(seen: Seen) -> None:
    class Model(Scripted):
        def on_train_epoch_end(self) -> None:
            self.log("val/score", 5.0 - self.current_epoch)

    saver = pl.callbacks.ModelCheckpoint(str(seen.folder), "{epoch}-{val/score:.1f}", monitor="val/score")
    seen.trainer(max_epochs=3, callbacks=[saver]).fit(seen.watched(Model([1.0] * 4)), loader(4), loader(4))
    seen.values["files"] = sorted(str(path.relative_to(seen.folder)) for path in seen.folder.rglob("*.ckpt"))
    seen.values["folder"] = type(saver.dirpath).__name__


@program
def files_of_steps_taken_by_hand(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    saver = pl.callbacks.ModelCheckpoint(seen.folder, save_top_k=-1, every_n_train_steps=4)
    seen.trainer(callbacks=[saver]).fit(seen.watched(Model()), loader())
    seen.values["files"] = sorted(path.name for path in seen.folder.glob("*.ckpt"))


@program
def a_monitor_that_no_validation_gives(seen: Seen) -> None:
    saver = pl.callbacks.ModelCheckpoint(seen.folder, monitor="val_loss")
    seen.trainer(callbacks=[saver]).fit(seen.watched(Trained()), loader())
    seen.values["files"] = sorted(path.name for path in seen.folder.glob("*.ckpt"))


@program
def counters_logged_under_their_own_names(seen: Seen) -> None:
    class Model(Trained):
        def on_train_epoch_end(self) -> None:
            self.log("step", 100.0 + self.current_epoch)

    saver = pl.callbacks.ModelCheckpoint(seen.folder, save_top_k=-1)
    seen.trainer(callbacks=[saver]).fit(seen.watched(Model()), loader(4))
    seen.values["files"] = sorted(path.name for path in seen.folder.glob("*.ckpt"))


@program
def states_are_read_for_a_test_too(seen: Seen) -> None:
    class Kept(pl.Callback):
        def state_dict(self) -> Any:
            return {"held": 1}

        def load_state_dict(self, state_dict: Any) -> None:
            seen.values.setdefault("read", []).append(state_dict)

    trainer = seen.trainer(callbacks=[Kept()])
    model = seen.watched(Whole())
    trainer.fit(model, loader(4), loader(4))
    for weights_only in (False, True):
        trainer.save_checkpoint(seen.folder / "one.ckpt", weights_only)
        trainer.test(model, loader(4), ckpt_path=seen.folder / "one.ckpt", verbose=False)
