"""``self.log`` from every place, with all its options."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy
import torch
from torch.utils.data import DataLoader

from parity.models import Trained, Whole, batches, loader
from parity.recording import Seen, program


@program
def step_and_epoch(seen: Seen) -> None:
    class Model(Whole):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("both", loss, on_step=True, on_epoch=True)
            self.log("step", float(batch_idx) * 10, on_step=True)
            self.log("epoch_only", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("val_both", self.loss(batch), on_step=True, on_epoch=True)

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


@program
def every_few_steps(seen: Seen) -> None:
    seen.trainer(log_every_n_steps=3, max_epochs=3).fit(seen.watched(Whole()), loader(10), loader(4))


@program
def never_on_a_step(seen: Seen) -> None:
    seen.trainer(log_every_n_steps=0).fit(seen.watched(Whole()), loader(), loader(4))


@program
def every_reduction(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for reduction in ("mean", "sum", "min", "max"):
                self.log(reduction, torch.tensor(float(batch_idx)), on_epoch=True, reduce_fx=reduction)
            return self.loss(batch)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def means_weigh_by_batch_size(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("by_batch", float(batch_idx), on_epoch=True)
            self.log("by_hand", float(batch_idx), on_epoch=True, batch_size=batch_idx + 1)
            return self.loss(batch)

    seen.trainer().fit(seen.watched(Model()), loader(7, 3))


@program
def a_dict_at_once(seen: Seen) -> None:
    class Model(Whole):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log_dict({"val_a": loss, "val_b": loss * 2, "val_count": batch_idx}, prog_bar=True)

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


@program
def from_every_hook(seen: Seen) -> None:
    class Model(Whole):
        def on_train_start(self) -> None:
            self.log("train_start", 1.0)

        def on_train_epoch_start(self) -> None:
            self.log("epoch_start", float(self.current_epoch))

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.log("batch_start", float(batch_idx))

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("batch_end", float(batch_idx))

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.log("before_step", 3.0)

        def on_train_epoch_end(self) -> None:
            self.log("epoch_end", float(self.current_epoch))

        def on_validation_epoch_end(self) -> None:
            self.log("val_epoch_end", float(self.global_step))

    seen.trainer().fit(seen.watched(Model()), loader(), loader(4))


@program
def where_logging_is_refused(seen: Seen) -> None:
    class Model(Whole):
        def on_fit_start(self) -> None:
            self.log("too_early", 1.0)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def logging_in_predict_is_refused(seen: Seen) -> None:
    class Model(Whole):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("nowhere", 1.0)

    seen.trainer().predict(seen.watched(Model()), batches())


@program
def on_step_where_there_is_none(seen: Seen) -> None:
    class Model(Whole):
        def on_train_epoch_end(self) -> None:
            self.log("epoch_end", 1.0, on_step=True)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def a_tensor_of_several_elements(seen: Seen) -> None:
    class Model(Whole):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("vector", torch.ones(3))
            return self.loss(batch)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def not_for_loggers(seen: Seen) -> None:
    class Model(Whole):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("hidden", loss, logger=False, prog_bar=True)
            self.log("shown", loss)
            return loss

        def on_train_epoch_end(self) -> None:
            seen.values["bar"] = sorted(self.trainer.progress_bar_metrics)
            seen.values["logged"] = sorted(self.trainer.logged_metrics)
            seen.values["callback"] = sorted(self.trainer.callback_metrics)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def integers_and_double_precision(seen: Seen) -> None:
    class Model(Whole):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("count", batch_idx, on_epoch=True, reduce_fx="sum")
            self.log("double", torch.tensor(0.1, dtype=torch.float64), on_epoch=True)
            return self.loss(batch)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def the_loggers_own_methods(seen: Seen) -> None:
    class Model(Whole):
        def on_train_epoch_end(self) -> None:
            self.logger.log_metrics({"direct": 1.0}, step=self.global_step)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def methods_between_step_and_weights_log(seen: Seen) -> None:
    class Model(Trained):
        def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
            self.log("backward", loss)
            super().backward(loss, *args, **kwargs)

        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            self.log("norm", sum(p.grad.norm() for p in self.parameters()), on_epoch=True)
            self.clip_gradients(optimizer, 0.1, "norm")

        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
            self.log("after", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="max")

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            self.log("zeroed", 1)
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    seen.trainer().fit(seen.watched(Model()), loader(8))


@program
def reductions_are_named_or_given(seen: Seen) -> None:
    class Model(Whole):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            for name, reduce_fx in REDUCTIONS.items():
                self.log(name, batch[0].sum(), reduce_fx=reduce_fx)
            self.log("whole", batch_idx, reduce_fx="max")
            self.log("flag", batch_idx == 2, reduce_fx=sum)
            self.log("counted", torch.tensor(batch_idx))

    REDUCTIONS = {"avg": "avg", "SUM": "SUM", "max": max, "torch.max": torch.max, "sum": sum, "torch.mean": torch.mean}
    trainer = seen.trainer(max_epochs=1)
    trainer.fit(seen.watched(Model()), loader(4), loader(8))
    seen.values["types"] = [type(trainer.logged_metrics[name]).__name__ for name in ("whole", "flag", "counted")]
    seen.values["dtypes"] = [str(trainer.callback_metrics[name].dtype) for name in ("whole", "flag", "counted")]


@program
def bars_show_steps_and_epochs_by_their_names(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("both", loss, on_step=True, on_epoch=True, prog_bar=True)
            self.log("step", loss, prog_bar=True)
            self.log("epoch", loss, on_step=False, on_epoch=True, prog_bar=True, logger=False)
            return loss

    trainer = seen.trainer(max_epochs=1)
    trainer.fit(seen.watched(Model()), loader(8))
    seen.values["bar"] = dict(trainer.progress_bar_metrics)
    seen.values["logged"] = sorted(trainer.logged_metrics)


@program
def metrics_in_hooks_of_an_epochs_end(seen: Seen) -> None:
    def note(where: str, trainer: Any) -> None:
        shown = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
        seen.values.setdefault("shown", []).append([where, *(dict(metrics) for metrics in shown)])

    class Noting(pl.Callback):
        def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
            note("sanity", trainer)

        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            note("batch", trainer)

        def on_validation_batch_end(self, trainer: Any, *args: Any) -> None:
            note("validation batch", trainer)

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            note("validation", trainer)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            note("epoch", trainer)

    class Model(Whole):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("both", loss, on_step=True, on_epoch=True, prog_bar=True)
            self.log("same", float(batch_idx))
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("same", self.loss(batch), on_step=True, prog_bar=True)

        def on_validation_epoch_end(self) -> None:
            note("module", self.trainer)
            self.log("late", 1.0)

    seen.trainer(callbacks=[Noting()], log_every_n_steps=3).fit(seen.watched(Model()), loader(4), loader(4))


@program
def one_name_in_training_and_validation(seen: Seen) -> None:
    class Model(Trained):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("loss", self.loss(batch))

    saver = pl.callbacks.ModelCheckpoint(seen.folder, "{epoch}-{loss:.6f}", monitor="loss", save_top_k=-1)
    seen.trainer(callbacks=[saver]).fit(seen.watched(Model()), loader(), loader(4))
    seen.values["files"] = sorted(path.name for path in seen.folder.glob("*.ckpt"))


@program
def means_over_batches_of_many_kinds(seen: Seen) -> None:
    @dataclass
    class Batch:
        inputs: torch.Tensor
        name: str = "x"

    rows = [torch.ones(size, 2) for size in (3, 1)]
    kinds: dict[str, Any] = {
        "texts": [{"text": ["hello"] * len(row), "x": row} for row in rows],
        "dataclass": [Batch(row) for row in rows],
        "user_dict": [UserDict(x=row) for row in rows],
        "pairs": [("label", row) for row in rows],
    }

    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for name, value in (("float", float(batch_idx)), ("numpy", numpy.float32(batch_idx)), ("int", batch_idx)):
                self.log(name, value, on_step=False, on_epoch=True)
            return self(torch.ones(1, 4)).sum()

    for name, given in kinds.items():
        trainer = seen.trainer(max_epochs=1)
        trainer.fit(seen.watched(Model()), DataLoader(given, batch_size=None))
        seen.values[name] = dict(trainer.callback_metrics)


@program
def one_name_with_options_in_other_words(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("twice", 1.0)
            self.log("twice", 2.0, on_step=True)
            self.log("a/dataloader_idx_3", 2.0, add_dataloader_idx=False)
            return self.loss(batch)

        def on_train_epoch_end(self) -> None:
            self.log("step", 7.0)
            self.log("epoch", 3.0)

    seen.trainer().fit(seen.watched(Model()), loader(4))


@program
def each_loaders_own_names(seen: Seen) -> None:
    class Model(Trained):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log(f"own_{dataloader_idx}", float(batch_idx), add_dataloader_idx=False)
            self.log("shared", float(batch_idx))

        def on_validation_epoch_end(self) -> None:
            self.log("late", 5.0)

    trainer = seen.trainer()
    seen.values["found"] = trainer.validate(seen.watched(Model()), [loader(4), loader(6)], verbose=False)


@program
def logs_of_the_step_that_stops(seen: Seen) -> None:
    class Model(Trained):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = batch_idx == 2

    seen.trainer(log_every_n_steps=50).fit(seen.watched(Model()), loader(12))


@program
def a_module_within_a_module_logs(seen: Seen) -> None:
    class Inner(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("inner", []).append((self.global_step, self.current_epoch, self.trainer.max_epochs))
            return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    class Outer(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.inner.training_step(batch, batch_idx)

    seen.trainer().fit(seen.watched(Outer()), loader(4))
