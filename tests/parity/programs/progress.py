"""What a program can read of how far a run is."""

from __future__ import annotations

from typing import Any

from parity.models import Trained, Whole, loader
from parity.recording import Seen, program


@program
def what_hooks_see_of_the_run(seen: Seen) -> None:
    class Model(Whole):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer = self.trainer
            state = (self.current_epoch, self.global_step, trainer.is_last_batch, trainer.num_training_batches)
            seen.values.setdefault("batches", []).append(state)

        def on_validation_epoch_start(self) -> None:
            trainer = self.trainer
            stages = (trainer.training, trainer.validating, trainer.sanity_checking, trainer.testing)
            seen.values.setdefault("validation", []).append((*stages, self.current_epoch, self.global_step))

        def on_train_epoch_end(self) -> None:
            seen.values.setdefault("epochs", []).append((self.current_epoch, self.global_step))

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


def described(trainer: Any) -> dict[str, Any]:
    """Public properties of a trainer, as plain values."""
    state = trainer.state
    return {
        "state": [str(getattr(part, "value", part)) for part in (state.fn, state.status, state.stage)],
        "stages": [trainer.training, trainer.validating, trainer.testing, trainer.predicting, trainer.sanity_checking],
        "evaluating": trainer.evaluating,
        "batches": [trainer.num_training_batches, trainer.num_val_batches, trainer.num_sanity_val_batches],
        "others": [trainer.num_test_batches, trainer.num_predict_batches],
        "validates": trainer.enable_validation,
        "ranks": [trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size],
        "places": [trainer.num_devices, trainer.num_nodes, trainer.is_global_zero],
        "limits": [trainer.max_epochs, trainer.min_epochs, trainer.max_steps, trainer.min_steps],
        "precision": trainer.precision,
        "device": str(trainer.strategy.root_device),
        "callbacks": [type(callback).__name__ for callback in trainer.early_stopping_callbacks],
        "checkpoint": trainer.checkpoint_callback is None,
        "bar": trainer.progress_bar_callback is None,
        "accumulation": trainer.accumulate_grad_batches,
        "loader": type(trainer.train_dataloader).__name__,
        "optimizers": [type(optimizer).__name__ for optimizer in trainer.optimizers],
        "schedulers": len(trainer.lr_scheduler_configs),
        "interrupted": trainer.interrupted,
    }


@program
def properties_of_the_trainer(seen: Seen) -> None:
    class Model(Whole):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            seen.values["training"] = described(self.trainer)
            seen.values["steps"] = self.trainer.estimated_stepping_batches

        def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            stage = "sanity" if self.trainer.sanity_checking else "validation"
            seen.values[stage] = described(self.trainer)

    trainer = seen.trainer(limit_val_batches=1)
    trainer.fit(seen.watched(Model()), loader(), loader(4))
    seen.values["after"] = described(trainer)


@program
def how_far_the_loops_are(seen: Seen) -> None:
    places: list[Any] = []

    class Model(Whole):
        dropout = 0.0

        def note(self, where: str) -> None:
            fit = self.trainer.fit_loop
            epoch = fit.epoch_loop
            places.append((where, epoch.batch_idx, epoch.total_batch_idx, epoch.global_step, fit.max_epochs))

        def configure_optimizers(self) -> Any:
            self.trainer.fit_loop.setup_data()
            seen.values["batches"] = self.trainer.fit_loop.max_batches
            seen.values["validates"] = [
                self.trainer.enable_validation,
                self.trainer.fit_loop.epoch_loop.val_loop._data_source.is_defined(),
            ]
            return super().configure_optimizers()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.note("step")
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.note("validation")
            return super().validation_step(batch, batch_idx)

        def on_train_epoch_start(self) -> None:
            self.note("epoch")

        def on_train_batch_end(self, *args: Any) -> None:
            self.note("batch end")

        def on_train_epoch_end(self) -> None:
            self.note("epoch end")
            if self.current_epoch == 1:
                self.trainer.fit_loop.max_epochs = 3

    trainer = seen.trainer(max_epochs=2, limit_val_batches=1)
    trainer.fit(seen.watched(Model()), loader(), loader(4))
    seen.values["places"] = places
    seen.values["limits"] = [
        getattr(trainer.fit_loop, f"{end}_{of}") for end in ("min", "max") for of in ("epochs", "steps")
    ]
    trainer.fit_loop.max_epochs = 4
    trainer.fit(trainer.lightning_module, loader())
    seen.values["longer"] = [trainer.current_epoch, trainer.global_step]


@program
def a_fit_after_a_fit(seen: Seen) -> None:
    trainer = seen.trainer(max_epochs=1)
    trainer.fit(seen.watched(Trained()), loader())
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trainer.lightning_module, loader())
