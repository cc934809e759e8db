"""Two processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

from parity.models import Stream, Trained, Whole, batches, loader, samples
from parity.recording import Seen, distributed


def shuffled(count: int) -> Any:
    """Lightning shuffles what several processes train on whether asked to or not."""
    return loader(count, shuffle=True)


DDP: dict[str, Any] = {"devices": 2, "strategy": "ddp"}


class Synchronized(Whole):
    """Metrics over all ranks, as one has to ask Lightning for."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss(batch), sync_dist=True)
        self.log("largest", batch[0].max(), sync_dist=True, reduce_fx="max")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test_loss", self.loss(batch), sync_dist=True)


@distributed
def ddp_trains(seen: Seen) -> None:
    seen.trainer(**DDP).fit(seen.watched(Trained()), shuffled(16))


@distributed
def ddp_takes_samples_in_the_same_random_order(seen: Seen) -> None:
    class Model(Trained):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            seen.values.setdefault("batches", []).append(batch[0])

    pl.seed_everything(5)
    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_begins_with_the_weights_of_rank_0(seen: Seen) -> None:
    model = seen.watched(Trained())
    trainer = seen.trainer(**DDP)
    for parameter in model.parameters():
        parameter.data += trainer.global_rank
    trainer.fit(model, shuffled(16))


@distributed
def ddp_tests_the_weights_of_rank_0(seen: Seen) -> None:
    model = seen.watched(Synchronized())
    trainer = seen.trainer(**DDP)
    for parameter in model.parameters():
        parameter.data += trainer.global_rank
    seen.values["tested"] = trainer.test(model, loader(8), verbose=False)


@distributed
def ddp_reduces_numbers_of_16_bits_in_32(seen: Seen) -> None:
    seen.trainer(**DDP, precision="bf16-true").fit(seen.watched(Synchronized()), shuffled(16), loader(8))


@distributed
def ddp_validates_and_tests(seen: Seen) -> None:
    model = seen.watched(Synchronized())
    trainer = seen.trainer(**DDP)
    trainer.fit(model, shuffled(16), loader(8))
    seen.values["tested"] = trainer.test(model, loader(8), verbose=False)


@distributed
def ddp_accumulates_and_clips(seen: Seen) -> None:
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}
    seen.trainer(**DDP, **options).fit(seen.watched(Trained()), shuffled(20))


@distributed
def ddp_with_a_layer_that_takes_turns(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(4, 1)

        def loss(self, batch: Any) -> Any:
            inputs, targets = batch
            part = self.other if self.global_step % 2 else self.network
            return nn.functional.mse_loss(part(inputs), targets)

    options = {**DDP, "strategy": "ddp_find_unused_parameters_true"}
    seen.trainer(**options).fit(seen.watched(Model()), shuffled(16))


@distributed
def ranks_gather_and_agree(seen: Seen) -> None:
    class Model(Trained):
        def on_train_epoch_end(self) -> None:
            seen.values["gathered"] = self.all_gather({"rank": torch.tensor([float(self.global_rank)])})

    trainer = seen.trainer(**DDP)
    trainer.fit(seen.watched(Model()), shuffled(16))
    seen.values["ranks"] = [trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size]
    seen.values["places"] = [trainer.num_devices, trainer.num_nodes, trainer.is_global_zero]


@distributed
def metric_objects_are_computed_over_all_ranks(seen: Seen) -> None:
    import torchmetrics

    class Model(Whole):
        def __init__(self) -> None:
            super().__init__()
            parts = [torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()]
            self.errors = torchmetrics.MetricCollection(parts, prefix="val_")
            self.largest = torchmetrics.MaxMetric()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.largest(loss.detach())
            self.log("largest", self.largest, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.errors.update(self(batch[0]), batch[1])
            self.log_dict(self.errors)

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16), loader(8))


@distributed
def ddp_with_batch_norm_and_buffers(seen: Seen) -> None:
    class Model(Synchronized):
        def __init__(self) -> None:
            super().__init__()
            self.network.insert(1, nn.BatchNorm1d(3))
            self.register_buffer("steps", torch.zeros(1))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.steps += 1 + self.global_rank
            return super().training_step(batch, batch_idx)

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16), loader(8))


@distributed
def ddp_with_lbfgs(seen: Seen) -> None:
    class Model(Trained):
        dropout = 0.0

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.05, max_iter=3)

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_with_a_part_frozen_at_first(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.network[0].requires_grad_(False)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_stops_early_and_keeps_the_best(seen: Seen) -> None:
    class Model(Synchronized):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("rising", float(self.current_epoch) + self.global_rank, sync_dist=True)

    stopping = pl.callbacks.EarlyStopping("rising", patience=1)
    saver = pl.callbacks.ModelCheckpoint(seen.folder / "best", monitor="rising", save_top_k=1)
    trainer = seen.trainer(**DDP, max_epochs=5, callbacks=[stopping, saver], enable_checkpointing=True)
    trainer.fit(seen.watched(Model()), shuffled(16), loader(8))
    seen.values["stopped"] = [trainer.current_epoch, stopping.stopped_epoch, float(saver.best_model_score)]


@distributed
def ddp_streams(seen: Seen) -> None:
    model = seen.watched(Synchronized())
    seen.trainer(**DDP, limit_train_batches=3).fit(model, DataLoader(Stream(12), 2), DataLoader(Stream(8), 2))


@distributed
def ddp_with_a_sampler_of_the_users(seen: Seen) -> None:
    class Model(Trained):
        def train_dataloader(self) -> Any:
            data = samples(16)
            sampler = DistributedSampler(data, shuffle=True, seed=3)
            return DataLoader(data, 2, sampler=sampler)

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            seen.values.setdefault("batches", []).append(batch[0])

    seen.trainer(**DDP, use_distributed_sampler=False).fit(seen.watched(Model()))


@distributed
def ddp_combines_loaders(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch["one"]) + self.loss(batch["two"])
            self.log("loss", loss, sync_dist=True)
            return loss

    seen.trainer(**DDP).fit(seen.watched(Model()), {"one": shuffled(16), "two": shuffled(12)})


@distributed
def ddp_logs_by_every_rule(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            value = float(self.global_rank + batch_idx)
            for rule in ("mean", "sum", "max", "min"):
                self.log(rule, value, reduce_fx=rule, sync_dist=True, on_step=True, on_epoch=True)
            self.log("weighted", value, sync_dist=True, on_epoch=True, batch_size=1 + batch_idx)
            self.log_dict({"a": loss, "b": value}, sync_dist=True, on_epoch=True, on_step=False)
            return loss

    seen.trainer(**DDP, log_every_n_steps=2).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_averages_weights(seen: Seen) -> None:
    callbacks = [pl.callbacks.StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1)]
    seen.trainer(**DDP, max_epochs=3, callbacks=callbacks).fit(seen.watched(Trained()), shuffled(16))


@distributed
def ddp_in_half_precision(seen: Seen) -> None:
    seen.trainer(**DDP, precision="bf16-mixed").fit(seen.watched(Trained()), shuffled(16))


@distributed
def ddp_predicts(seen: Seen) -> None:
    class Model(Whole):
        def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            seen.values.setdefault("predicted", []).append(batch[0])

    model = seen.watched(Model())
    seen.trainer(**DDP).fit(model, shuffled(16))
    seen.values["predictions"] = seen.trainer(**DDP).predict(model, batches(8))


@distributed
def ranks_talk(seen: Seen) -> None:
    class Model(Trained):
        def on_train_start(self) -> None:
            strategy = self.trainer.strategy
            strategy.barrier("here")
            seen.values["places"] = [strategy.local_rank, strategy.global_rank, strategy.world_size]
            seen.values["from rank 0"] = strategy.broadcast({"rank": self.global_rank})
            one = torch.tensor(float(self.global_rank))
            seen.values["reduced"] = [float(strategy.reduce(one.clone(), reduce_op=op)) for op in ("mean", "sum")]
            flags = [strategy.reduce_boolean_decision(self.global_rank == 0, all=every) for every in (True, False)]
            seen.values["decided"] = flags

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_resumes(seen: Seen) -> None:
    class Model(Trained):
        dropout = 0.0  # Lightning does not save the generators

    trainer = seen.trainer(**DDP, max_epochs=1)
    trainer.fit(seen.watched(Model()), shuffled(16))
    path = trainer.strategy.broadcast(seen.folder / "one.ckpt")
    trainer.save_checkpoint(path)
    seen.trainer(**DDP, max_epochs=2).fit(seen.watched(Model()), shuffled(16), ckpt_path=path)
    trainer.strategy.barrier()


@distributed
def ddp_stops_when_any_rank_has_a_reason(seen: Seen) -> None:
    class Model(Trained):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            worse = self.global_rank == 1 and self.current_epoch > 0
            self.log("own", float(worse), sync_dist=False)

    stopping = pl.callbacks.EarlyStopping("own", patience=1, stopping_threshold=-1.0)
    trainer = seen.trainer(**DDP, max_epochs=5, callbacks=[stopping])
    trainer.fit(seen.watched(Model()), shuffled(16), loader(8))
    seen.values["stopped"] = [trainer.current_epoch, stopping.stopped_epoch]


@distributed
def ddp_finds_one_rate(seen: Seen) -> None:
    class Model(Trained):
        dropout = 0.0

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    model = Model()
    plain = {"enable_progress_bar": False, "logger": False, "default_root_dir": seen.folder}
    trainer = pl.Trainer(accelerator="cpu", **plain, **DDP)
    found = pl.tuner.Tuner(trainer).lr_find(model, shuffled(64), num_training=20, early_stop_threshold=None)
    rates = trainer.strategy.all_gather(torch.tensor(found.suggestion()))
    seen.values["the same"] = bool((rates == rates[0]).all())
    seen.values["rates"] = found.results["lr"]


@distributed
def ddp_writes_predictions(seen: Seen) -> None:
    class Writer(pl.callbacks.BasePredictionWriter):
        def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, indices: Any, *rest: Any) -> None:
            seen.values.setdefault("written", []).append([prediction, list(indices)])

        def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, indices: Any) -> None:
            seen.values["in the end"] = [len(predictions), indices]

    trainer = seen.trainer(**DDP, callbacks=[Writer("batch_and_epoch")])
    trainer.predict(seen.watched(Whole()), loader(8))


@distributed
def ddp_watches_rates_and_averages(seen: Seen) -> None:
    callbacks = [pl.callbacks.LearningRateMonitor(), pl.callbacks.EMAWeightAveraging(decay=0.9)]
    logger = pl.loggers.CSVLogger(seen.folder)
    seen.trainer(**DDP, callbacks=callbacks, logger=logger).fit(seen.watched(Trained()), shuffled(16))


@distributed
def ddp_compiles(seen: Seen) -> None:
    model = seen.watched(Trained())
    seen.trainer(**DDP).fit(torch.compile(model, backend="eager"), shuffled(16))


@distributed
def ddp_overfits_and_limits(seen: Seen) -> None:
    options = {**DDP, "overfit_batches": 2, "limit_val_batches": 0.5}
    seen.trainer(**options).fit(seen.watched(Synchronized()), loader(16), loader(16))


@distributed
def ddp_checks_by_time_and_step(seen: Seen) -> None:
    saver = pl.callbacks.ModelCheckpoint(seen.folder / "kept", every_n_train_steps=3, save_top_k=-1)
    options = {**DDP, "val_check_interval": 2, "max_steps": 7, "max_epochs": -1, "enable_checkpointing": True}
    seen.trainer(**options, callbacks=[saver]).fit(seen.watched(Synchronized()), shuffled(16), loader(8))
    seen.values["kept"] = sorted(path.name for path in (seen.folder / "kept").glob("*.ckpt"))


@distributed
def ddp_saves_where_rank_0_says(seen: Seen) -> None:
    """In a folder whose name tells the time or chance, for one."""
    saver = pl.callbacks.ModelCheckpoint(seen.folder / str(os.environ["RANK"]), monitor="loss")
    trainer = seen.trainer(**DDP, callbacks=[saver], enable_checkpointing=True)
    trainer.fit(seen.watched(Synchronized()), shuffled(16))
    seen.values["where"] = [Path(path).parent.name for path in (saver.best_model_path, *saver.best_k_models)]
