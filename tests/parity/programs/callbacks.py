"""Callbacks that come with the engine, and callbacks of the user's own."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateMonitor,
    StochasticWeightAveraging,
    Timer,
)

from parity.models import Scripted, Trained, Whole, loader
from parity.recording import Seen, program


def stopping(seen: Seen, script: list[float], **options: Any) -> None:
    callback = EarlyStopping("scripted", **options)
    trainer = seen.trainer(max_epochs=8, num_sanity_val_steps=0, callbacks=[callback])
    trainer.fit(seen.watched(Scripted(script)), loader(4), loader(4))
    seen.values["stopped"] = (callback.stopped_epoch, callback.wait_count, float(callback.best_score))


@program
def stops_when_nothing_improves(seen: Seen) -> None:
    stopping(seen, [3.0, 2.0, 2.5, 2.4, 2.3, 2.2], patience=2)


@program
def stops_on_a_maximum(seen: Seen) -> None:
    stopping(seen, [1.0, 2.0, 3.0, 3.0, 3.0], patience=1, mode="max")


@program
def small_improvements_do_not_count(seen: Seen) -> None:
    stopping(seen, [3.0, 2.95, 2.9, 2.85], patience=2, min_delta=0.2)


@program
def stops_at_a_threshold(seen: Seen) -> None:
    stopping(seen, [3.0, 2.0, 0.5, 0.4], stopping_threshold=1.0)


@program
def stops_when_it_diverges(seen: Seen) -> None:
    stopping(seen, [3.0, 2.0, 9.0, 1.0], divergence_threshold=5.0)


@program
def stops_when_it_is_not_finite(seen: Seen) -> None:
    stopping(seen, [3.0, float("nan"), 1.0])


@program
def a_monitor_that_does_not_exist(seen: Seen) -> None:
    callback = EarlyStopping("nothing")
    seen.trainer(callbacks=[callback]).fit(seen.watched(Whole()), loader(), loader(4))


@program
def a_monitor_that_may_be_missing(seen: Seen) -> None:
    callback = EarlyStopping("nothing", strict=False)
    seen.trainer(callbacks=[callback]).fit(seen.watched(Whole()), loader(), loader(4))


@program
def rates_are_logged(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.5)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "interval": "step"}]

    monitor = LearningRateMonitor(log_momentum=True)
    seen.trainer(callbacks=[monitor]).fit(seen.watched(Model()), loader())


@program
def rates_are_logged_by_epoch(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            network = self.network
            groups = [{"params": network[0].parameters()}, {"params": network[3].parameters(), "lr": 0.5}]
            optimizer = torch.optim.SGD(groups, lr=0.1)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "name": "rate"}]

    monitor = LearningRateMonitor(logging_interval="epoch")
    seen.trainer(callbacks=[monitor]).fit(seen.watched(Model()), loader())


@program
def accumulation_by_epoch(seen: Seen) -> None:
    callback = GradientAccumulationScheduler({0: 1, 1: 2, 2: 4})
    seen.trainer(callbacks=[callback], max_epochs=3).fit(seen.watched(Trained()), loader())


@program
def averaged_weights(seen: Seen) -> None:
    callback = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1, annealing_epochs=1)
    seen.trainer(callbacks=[callback], max_epochs=4).fit(seen.watched(Trained()), loader())


@program
def an_exponential_average(seen: Seen) -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    callback = EMAWeightAveraging(decay=0.5)
    trainer = seen.trainer(callbacks=[callback], num_sanity_val_steps=0)
    trainer.fit(seen.watched(Whole()), loader(), loader(4))


@program
def functions_as_callbacks(seen: Seen) -> None:
    called = seen.values.setdefault("called", [])
    callback = LambdaCallback(
        on_train_start=lambda trainer, module: called.append("start"),
        on_train_batch_end=lambda trainer, module, outputs, batch, batch_idx: called.append(batch_idx),
    )
    seen.trainer(callbacks=[callback]).fit(seen.watched(Trained()), loader(4))


@program
def a_backbone_thaws(seen: Seen) -> None:
    from lightning.pytorch.callbacks import BaseFinetuning

    class Thaw(BaseFinetuning):
        def freeze_before_training(self, pl_module: Any) -> None:
            self.freeze(pl_module.network[0])

        def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.network[0], optimizer, lr=0.01)

    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD((p for p in self.parameters() if p.requires_grad), lr=0.1)

    seen.trainer(callbacks=[Thaw()], max_epochs=3).fit(seen.watched(Model()), loader())


@program
def time_for_nothing(seen: Seen) -> None:
    timer = Timer(duration={"seconds": 0})
    seen.trainer(callbacks=[timer]).fit(seen.watched(Trained()), loader())


@program
def callbacks_of_the_module(seen: Seen) -> None:
    class Model(Scripted):
        def configure_callbacks(self) -> Any:
            return [EarlyStopping("scripted", patience=1)]

    trainer = seen.trainer(max_epochs=6, num_sanity_val_steps=0, callbacks=[EarlyStopping("val_loss", patience=5)])
    trainer.fit(seen.watched(Model([3.0, 4.0, 5.0])), loader(4), loader(4))


@program
def callbacks_that_log(seen: Seen) -> None:
    class Logging(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            pl_module.log("from_callback", float(batch_idx))

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.log("val_from_callback", 2.0)

    seen.trainer(callbacks=[Logging()]).fit(seen.watched(Whole()), loader(), loader(4))


@program
def predictions_are_written(seen: Seen) -> None:
    from lightning.pytorch.callbacks import BasePredictionWriter

    class Writer(BasePredictionWriter):
        def write_on_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            prediction: Any,
            batch_indices: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int,
        ) -> None:
            seen.values.setdefault("batches", []).append((batch_idx, batch_indices, prediction))

        def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
            seen.values["epoch"] = (predictions, batch_indices)

    trainer = seen.trainer(callbacks=[Writer("batch_and_epoch")])
    trainer.predict(seen.watched(Whole()), loader(5), return_predictions=False)


@program
def reasons_to_stop(seen: Seen) -> None:
    for options in ({"patience": 1}, {"stopping_threshold": 2.5}, {"divergence_threshold": 3.5}):
        callback = EarlyStopping("scripted", **options)
        trainer = seen.trainer(max_epochs=4, num_sanity_val_steps=0, callbacks=[callback])
        trainer.fit(seen.watched(Scripted([3.0, 2.0, 4.0])), loader(4), loader(4))
        seen.values[str(options)] = (callback.stopping_reason.name, callback.stopped_epoch)


def spiking(seen: Seen, losses: list[float], **options: Any) -> None:
    import json

    from lightning.pytorch.callbacks import SpikeDetection

    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) * 0 + losses[batch_idx]

    callback = SpikeDetection(exclude_batches_path=seen.folder / "bad.json", **options)
    try:
        seen.trainer(callbacks=[callback], max_epochs=1).fit(seen.watched(Model()), loader(2 * len(losses)))
    finally:
        path = seen.folder / "bad.json"
        seen.values["bad"] = json.loads(path.read_text()) if path.exists() else callback.bad_batches


@program
def a_loss_that_leaps(seen: Seen) -> None:
    spiking(seen, [1.0, 1.1, 1.0, 7.0, 1.0])


@program
def a_loss_that_is_not_a_number(seen: Seen) -> None:
    spiking(seen, [1.0, 1.1, float("nan"), 1.0])


@program
def losses_without_a_spike(seen: Seen) -> None:
    spiking(seen, [9.0, 1.0, 1.5, 2.5, 0.1], window=3, rtol=1.0)


@program
def a_spike_by_its_height(seen: Seen) -> None:
    spiking(seen, [1.0, 1.5, 2.6, 0.1], rtol=None, atol=1.0)


@program
def a_rate_is_found_first(seen: Seen) -> None:
    from lightning.pytorch.callbacks import LearningRateFinder

    class Model(Trained):
        dropout = 0.0

    finder = LearningRateFinder(num_training_steps=30, min_lr=1e-5)
    module = Model(lr=1e-3)
    trainer = seen.trainer(callbacks=[finder], logger=False, max_epochs=1)
    trainer.callbacks = [finder]  # others would see the checkpoint that Lightning writes meanwhile
    trainer.fit(module, loader(80))
    seen.values["lr"] = (finder.optimal_lr.suggestion(), module.lr, finder.optimal_lr.results)
    seen.modules.append(module)


@program
def a_batch_size_is_found_first(seen: Seen) -> None:
    from lightning.pytorch.callbacks import BatchSizeFinder

    class Model(Trained):
        batch_size = 2
        dropout = 0.0

        def train_dataloader(self) -> Any:
            return loader(32, self.batch_size)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if len(batch[0]) > 8:
                raise RuntimeError("CUDA error: out of memory")
            return super().training_step(batch, batch_idx)

    finder, module = BatchSizeFinder(), Model()
    trainer = seen.trainer(callbacks=[finder], logger=False, max_epochs=1)
    trainer.callbacks = [finder]
    trainer.fit(module)
    seen.values["size"] = (finder.optimal_batch_size, module.batch_size)
    seen.modules.append(module)


@program
def stopping_is_of_training_alone(seen: Seen) -> None:
    callback = EarlyStopping("scripted", check_on_train_epoch_end=False, patience=1)
    trainer = seen.trainer(max_epochs=2, callbacks=[callback])
    model = seen.watched(Scripted([3.0, 2.0, 1.0, 4.0, 5.0]))
    trainer.fit(model, loader(4), loader(4))
    trainer.validate(model, loader(4), verbose=False)
    seen.values["after"] = (callback.wait_count, callback.stopped_epoch, trainer.should_stop)
    seen.values["state"] = sorted(callback.state_dict())
    seen.trainer(fast_dev_run=True, callbacks=[EarlyStopping("nothing")]).fit(model, loader(4), loader(4))


@program
def thresholds_in_the_metrics_own_precision(seen: Seen) -> None:
    stopping(seen, [0.5, 0.6, 0.7], stopping_threshold=0.6, mode="max")
    stopping(seen, [1.0, 0.9, 0.8, 0.7, 0.6], min_delta=0.1, patience=2)
    stopping(seen, [1.0, 1.05, 1.1, 1.2], min_delta=-0.2, patience=2)


@program
def callbacks_in_the_place_of_their_bases(seen: Seen) -> None:
    class Own(EarlyStopping):
        pass

    class Model(Scripted):
        def configure_callbacks(self) -> Any:
            return Own("scripted", patience=1)

    given = [EarlyStopping("scripted", patience=5), pl.Callback()]
    trainer = seen.trainer(max_epochs=4, callbacks=given)
    trainer.fit(seen.watched(Model([1.0, 2.0, 3.0, 4.0, 5.0])), loader(4), loader(4))
    kinds = [type(callback).__name__ for callback in trainer.callbacks]
    seen.values["kinds"] = [kind for kind in kinds if "Stopping" in kind or kind == "Own"]
    seen.values["key"] = Own("scripted").state_key
