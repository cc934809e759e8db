"""Two processes."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from parity.models import Trained, Whole, loader
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
def ddp_with_manual_optimization(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


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
