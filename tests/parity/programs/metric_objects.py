"""Metrics that keep state, as torchmetrics' do, given to ``self.log``."""

from __future__ import annotations

from typing import Any

from parity.models import Whole, loader
from parity.recording import Seen, program


@program
def a_metric_object(seen: Seen) -> None:
    import torchmetrics

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.error = torchmetrics.MeanSquaredError()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.error(self(batch[0]), batch[1])
            self.log("mse", self.error, on_step=True, on_epoch=True)
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.error.update(self(batch[0]), batch[1])
            self.log("val_mse", self.error)

    seen.trainer(num_sanity_val_steps=0).fit(seen.watched(Model()), loader(7, 3), loader(5, 3))


@program
def a_collection_of_metrics(seen: Seen) -> None:
    import torchmetrics

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            parts = [torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()]
            self.train_metrics = torchmetrics.MetricCollection(parts, prefix="train_")
            self.val_metrics = self.train_metrics.clone(prefix="val_")

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.train_metrics(self(batch[0]), batch[1])
            self.log_dict(self.train_metrics, on_step=True, on_epoch=True)
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.val_metrics.update(self(batch[0]), batch[1])
            self.log_dict(self.val_metrics, prog_bar=True)

    seen.trainer().fit(seen.watched(Model()), loader(7, 3), loader(5, 3))


@program
def metrics_that_are_computed_by_hand(seen: Seen) -> None:
    import torchmetrics

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.error = torchmetrics.MeanSquaredError()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("batch_mse", self.error(self(batch[0]), batch[1]), on_epoch=True)
            return self.loss(batch)

        def on_train_epoch_end(self) -> None:
            self.log_dict({"mse": self.error.compute()})
            self.error.reset()

    seen.trainer().fit(seen.watched(Model()), loader(7, 3))


@program
def metrics_of_several_loaders(seen: Seen) -> None:
    import torchmetrics
    from torch import nn

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.errors = nn.ModuleList([torchmetrics.MeanSquaredError(), torchmetrics.MeanMetric()])

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            if dataloader_idx == 0:
                self.errors[0].update(self(batch[0]), batch[1])
                self.log("error", self.errors[0], metric_attribute="errors.0")
            else:
                self.errors[1].update(self(batch[0]))
                self.log("error", self.errors[1], on_step=True, on_epoch=True, batch_size=2)

    seen.trainer().fit(seen.watched(Model()), loader(), [loader(5, 3), loader(4)])


@program
def a_metric_logged_when_the_epoch_ends(seen: Seen) -> None:
    import torchmetrics

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.largest = torchmetrics.MaxMetric()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.largest.update(self.loss(batch))

        def on_validation_epoch_end(self) -> None:
            self.log("largest", self.largest)

    seen.trainer(num_sanity_val_steps=0).fit(seen.watched(Model()), loader(), loader(5, 3))


@program
def a_metric_with_nothing_to_tell(seen: Seen) -> None:
    import torchmetrics

    class Nothing(torchmetrics.Metric):
        def update(self, value: Any) -> None:
            """There is nothing to count."""

        def compute(self) -> None:
            return None

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.nothing, self.error = Nothing(), torchmetrics.MeanSquaredError()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("before", loss)
            self.nothing.update(loss)
            self.log("nothing", self.nothing)
            self.error.update(loss, loss + 1)
            self.log("error", self.error)
            self.log("after", loss)
            return loss

    trainer = seen.trainer()
    trainer.fit(seen.watched(Model()), loader(), loader(4))
    names = ("before", "nothing", "error", "after")
    seen.values["order"] = [name for name in trainer.callback_metrics if name in names]
