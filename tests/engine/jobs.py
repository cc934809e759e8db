"""What the ranks of the engine's distributed tests run."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.utils.data import DataLoader, IterableDataset

import leyden as L
from engine.programs import QUIET, SAVING, Adversaries, Regression, loader, same, samples, weights
from leyden import elastic
from leyden.callbacks import BaseFinetuning, CheckpointDirectory, EMAWeightAveraging, StochasticWeightAveraging
from leyden.errors import CheckpointStorage
from leyden.metrics import Accuracy, Mean
from leyden.strategies import DDPStrategy, FSDPStrategy


class Killed(Exception):
    """Stands for the end of a process: nothing of the run goes on after it."""


class KillAfter(L.Callback):
    """Ends the run after a number of batches, without a chance to save anything."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


class Counting(Regression):
    """Measures by two metric objects, one of which it asks itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.number, self.by_itself = Mean(), Mean()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.number.update(batch[2])
        self.by_itself.update(batch[2])
        self.log("number", self.number, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("by_itself", self.by_itself.compute())
        self.by_itself.reset()


def train(
    directory: str,
    epochs: int = 3,
    kill_after: int | None = None,
    count: int = 20,
    batch_size: int = 4,
    steps: int | None = 1,
    **options: Any,
) -> dict[str, Any]:
    """Train with a checkpoint every ``steps``. Gives the weights and the samples seen, in order."""
    torch.manual_seed(3)
    module = Counting(dropout=options.pop("dropout", 0.2))
    keeper = CheckpointDirectory(directory, every_n_steps=steps, keep_last=100)
    callbacks: list[L.Callback] = [keeper] if kill_after is None else [keeper, KillAfter(kill_after)]
    trainer = L.Trainer(max_epochs=epochs, callbacks=callbacks, **SAVING, **options)
    killed = False
    try:
        trainer.fit(module, loader(count, batch_size), loader(8, shuffle=False))
    except Killed:
        killed = True
    return {
        "weights": weights(module),
        "seen": module.seen,
        "steps": trainer.global_step,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "killed": killed,
    }


def train_plainly(count: int, batch_size: int, **options: Any) -> dict[str, torch.Tensor]:
    """Without dropout and shuffling, so that only the arithmetic can differ between world sizes."""
    torch.manual_seed(3)
    module = Regression(dropout=0.0)
    L.Trainer(max_epochs=3, **QUIET, **options).fit(module, loader(count, batch_size, shuffle=False))
    return weights(module)


def train_with_hook(compressed: bool) -> tuple[dict[str, torch.Tensor], list[bool]]:
    """Weights, and for each bucket that was sent whether the hook had what it was promised."""
    sent: list[bool] = []

    def send(state: str, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        sent.append(state == "mine")
        return default_hooks.allreduce_hook(None, bucket)

    strategy = DDPStrategy(
        ddp_comm_state="mine",
        ddp_comm_hook=lambda state, bucket: send(state, bucket),  # torch takes no annotations that are text
        ddp_comm_wrapper=default_hooks.fp16_compress_wrapper if compressed else None,
    )
    return train_plainly(24, 4, strategy=strategy), sent


class Thaw(BaseFinetuning):
    """Trains the first layer from the second epoch on."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.network[0])

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.network[0], optimizer, lr=0.05)


def thaw(count: int, batch_size: int, **options: Any) -> dict[str, torch.Tensor]:
    """Whole weights after training a part that was frozen at first."""
    torch.manual_seed(3)
    module = Regression(dropout=0.0)
    trainer = L.Trainer(max_epochs=3, callbacks=[Thaw()], **QUIET, **options)
    trainer.fit(module, loader(count, batch_size, shuffle=False))
    return {name: value.clone() for name, value in trainer.strategy.whole(module.state_dict()).items()}


def train_manually(count: int, batch_size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    module = Adversaries()
    trainer = L.Trainer(max_epochs=2, strategy="ddp_find_unused_parameters_true", **QUIET)
    trainer.fit(module, loader(count, batch_size, shuffle=False))
    return weights(module)


class Measured(Regression):
    """Logs the same truth in every way that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = Accuracy()
        self.mean = Mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        _, _, numbers = batch
        right = (numbers % 3 == 0).long()
        self.accuracy.update(torch.ones_like(right), right)
        self.mean.update(numbers.double())
        self.log("accuracy", self.accuracy)
        self.log("mean", numbers.double().mean())
        self.log("mean_object", self.mean)
        self.log("sum", numbers.sum(), reduce_fx="sum")
        self.log("max", numbers.max(), reduce_fx="max")
        self.log("min", numbers.min(), reduce_fx="min")
        self.log("own", numbers.double().mean(), sync_dist=False)


def measure(count: int, batch_size: int) -> dict[str, float]:
    module = Measured()
    return L.Trainer(**QUIET).validate(module, loader(count, batch_size, shuffle=False), verbose=False)[0]


def compute_directly(values: list[list[float]]) -> float:
    """``Metric.compute`` outside of any trainer, each rank with values of its own."""
    strategy = L.Trainer(**QUIET).strategy
    strategy.connect()
    metric = Mean()
    for value in values[strategy.global_rank]:
        metric.update(value)
    return float(metric.compute())


class AskToStop(L.Callback):
    """Plays the agent: leaves the request while the ranks train."""

    def __init__(self, directory: Path, at_step: int) -> None:
        self.directory = directory
        self.at_step = at_step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.at_step:
            (self.directory / "stop").touch()


def agree(step_seconds: float, steps: int, asked: int) -> list[int]:
    """Steps on which this rank acted, by a clock of its own. Rank 1 has a reason to from a step on, until it acts."""
    strategy = L.Trainer(**QUIET).strategy
    strategy.connect()
    now, acted = 0.0, []
    with mock.patch.object(elastic, "time", SimpleNamespace(monotonic=lambda: now)):
        agreement = elastic.Agreement(strategy)
        for step in range(steps):
            now += step_seconds
            reason = strategy.global_rank == 1 and step >= asked and not acted
            if any(agreement.exchange(False, reason)):
                acted.append(step)
        agreement.close()
    return acted


def train_until_asked(directory: str, rank_directories: list[str], asked_rank: int, at_step: int) -> None:
    """One rank's agent asks at a step; the run's length leaves it no other end."""
    rank = L.Trainer(**QUIET).global_rank
    callbacks: list[L.Callback] = [CheckpointDirectory(directory, every_n_epochs=1000)]
    if rank == asked_rank:
        callbacks.append(AskToStop(Path(rank_directories[rank]), at_step))
    trainer = L.Trainer(max_epochs=1000, callbacks=callbacks, **SAVING)
    trainer.fit(Regression(), loader(40, 2))


def save_on_a_full_disk(directory: str, bytes_left: int) -> dict[str, Any]:
    """The process may not write files beyond a size, which fails in the same place as a full disk."""
    module = Regression()
    keeper = CheckpointDirectory(directory, every_n_epochs=1)
    trainer = L.Trainer(max_epochs=1, callbacks=[keeper], **SAVING)
    trainer.fit(module, loader())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))
    keeper = CheckpointDirectory(directory, every_n_epochs=1)
    trainer = L.Trainer(max_epochs=2, callbacks=[keeper], **SAVING)
    try:
        trainer.fit(module, loader())
    except CheckpointStorage as error:
        return {"reason": error.reason, "message": str(error), "threads": threading.active_count()}
    return {"reason": "", "message": json.dumps({"steps": trainer.global_step}), "threads": 0}


def disagree() -> str:
    """Rank 1 fails alone; the others must not wait for ever."""

    class Failing(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.global_rank == 1 and batch_idx == 1:
                raise ValueError("rank 1 has a problem")
            return super().training_step(batch, batch_idx)

    L.Trainer(max_epochs=1, **QUIET).fit(Failing(), loader(16, 2))
    return "finished"


class LeavesOneOut(Regression):
    """Has a layer that no loss depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 1)


def train_with_an_idle_layer(strategy: str) -> int:
    trainer = L.Trainer(max_epochs=1, strategy=strategy, **QUIET)
    trainer.fit(LeavesOneOut(), loader(16, 2))
    return trainer.global_step


def fit_then_test(count: int, batch_size: int, seed_by_rank: bool) -> dict[str, Any]:
    """A test after a fit in the same processes, whose weights differed before."""
    strategy = L.Trainer(**QUIET).strategy
    torch.manual_seed(3 + (strategy.global_rank if seed_by_rank else 0))

    class Tested(Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.first = weights(self) if self.global_step == 0 else self.first

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mean", batch[2].double().mean())

    module = Tested(dropout=0.0)
    trainer = L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, loader(16, batch_size))
    (tested,) = trainer.test(module, loader(count, batch_size, shuffle=False), verbose=False)
    return {"first": module.first, "last": weights(module), "mean": tested["mean"]}


class Deep(Regression):
    """Layers of their own shard, a parameter of no layer, and Adam's two states for each."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) * self.scale.sum()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("mean", batch[2].double().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.02)


def train_deep(
    count: int, batch_size: int, shards: str, folder: str = "", resume: str = "", epochs: int = 2, **options: Any
) -> dict[str, Any]:
    """Train :class:`Deep` and give whole weights; saves a file and a checkpoint directory in ``folder``.

    ``shards``: the kind of state in checkpoint directories, for FSDP; empty: without FSDP.
    """
    strategy: Any = FSDPStrategy({nn.Linear}, state_dict_type=shards) if shards else "auto"
    torch.manual_seed(3 + int(os.environ.get("RANK", "0")))
    module = Deep()
    callbacks = [CheckpointDirectory(f"{folder}/steps", every_n_epochs=1)] if folder else []
    settings = {**QUIET, "enable_checkpointing": None if folder else False}
    trainer = L.Trainer(max_epochs=epochs, callbacks=callbacks, strategy=strategy, **settings, **options)
    data = loader(count, batch_size, shuffle=False)
    trainer.fit(module, data, loader(6, batch_size), ckpt_path=resume or None)
    if folder:
        trainer.save_checkpoint(f"{folder}/one.ckpt")
    held = sum(getattr(parameter, "_local_tensor", parameter).numel() for parameter in module.parameters())
    whole = trainer.strategy.whole(module.state_dict())
    tested = trainer.test(module, loader(7, batch_size, shuffle=False), verbose=False)
    return {"weights": {name: value.clone() for name, value in whole.items()}, "held": held, "tested": tested}


def search_then_train(count: int, batch_size: int, shards: bool) -> dict[str, torch.Tensor]:
    """A search for the learning rate before a fit, of a module that has no steps but one."""
    torch.manual_seed(3)
    module = Adversaries()
    trainer = L.Trainer(max_epochs=2, strategy=FSDPStrategy({nn.Linear}) if shards else "auto", **QUIET)
    data = loader(count, batch_size, shuffle=False)
    probed = Regression(dropout=0.0)
    before = weights(probed)
    L.tuner.Tuner(trainer).lr_find(probed, data, num_training=15, early_stop_threshold=None, update_attr=False)
    after = trainer.strategy.whole(probed.state_dict())
    if trainer.is_global_zero:
        assert same(after, before), "a search leaves the module as it was"
    trainer.fit(module, data, loader(6, 2))
    return {name: value.clone() for name, value in trainer.strategy.whole(module.state_dict()).items()}


def average_shards(kind: str) -> None:
    """What a callback that averages weights says of FSDP."""
    averages = StochasticWeightAveraging(0.01) if kind == "swa" else EMAWeightAveraging()
    L.Trainer(max_epochs=1, strategy="fsdp", callbacks=[averages], **QUIET).fit(Regression(), loader(16, 2))


class Stream(IterableDataset[Any]):
    """Samples whose number nobody is told."""

    def __init__(self, count: int) -> None:
        self.samples = samples(count)

    def __iter__(self) -> Iterator[Any]:
        return (self.samples[index] for index in range(len(self.samples)))


def train_unevenly(streams: bool, counts: list[int], **options: Any) -> int:
    """Steps of two epochs, where each rank has samples of its own and another number of them."""
    count = counts[L.Trainer(**QUIET).global_rank]
    data = DataLoader(Stream(count), 2) if streams else loader(count, 2)
    trainer = L.Trainer(max_epochs=2, use_distributed_sampler=False, **QUIET, **options)
    trainer.fit(Regression(), data)
    return trainer.global_step


def gather(offset: int) -> list[float]:
    module: L.LightningModule = Regression()
    trainer = L.Trainer(**QUIET)
    trainer.strategy.connect()
    module.trainer = trainer
    gathered: torch.Tensor = module.all_gather(nn.Parameter(torch.tensor([1.0 + offset + trainer.global_rank])))
    return [float(value) for value in gathered.flatten()]
