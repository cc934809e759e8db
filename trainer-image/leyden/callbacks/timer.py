"""How long stages last, and an end to training when its time is up."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback
from leyden.errors import one_of
from leyden.settings import Duration, timedelta_of

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

INTERVALS = ("step", "epoch")
STAGES = ("train", "validate", "test")


class Timer(Callback):
    """Measures stages in seconds, and asks training to stop when ``duration`` is over.

    The time is looked at after each batch (``interval="step"``) or epoch. Rank 0's clock counts for all. A resumed run
    goes on counting where its checkpoint stood.
    """

    def __init__(
        self,
        duration: Duration | None = None,
        interval: str = "step",
        verbose: bool = True,
    ) -> None:
        if interval not in INTERVALS:
            raise one_of("interval", interval, INTERVALS)
        self.duration = timedelta_of("duration", duration).total_seconds() if duration is not None else None
        self.interval = interval
        self.verbose = verbose
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._offset = 0.0

    def start_time(self, stage: str = "train") -> float | None:
        """``time.monotonic()`` at the beginning of a stage: train, validate or test."""
        return self._started.get(stage)

    def end_time(self, stage: str = "train") -> float | None:
        """``time.monotonic()`` at the end of a stage."""
        return self._ended.get(stage)

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds that a stage has lasted."""
        offset = self._offset if stage == "train" else 0.0
        started = self._started.get(stage)
        if started is None:
            return offset
        return self._ended.get(stage, time.monotonic()) - started + offset

    def time_remaining(self, stage: str = "train") -> float | None:
        """Seconds that are left; ``None`` without a duration."""
        return self.duration - self.time_elapsed(stage) if self.duration is not None else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started["train"] = time.monotonic()
        self._ended.pop("train", None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended["train"] = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started["validate"] = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended["validate"] = time.monotonic()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started["test"] = time.monotonic()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended["test"] = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.interval == "step":
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interval == "epoch":
            self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if self.duration is None or not trainer.strategy.broadcast(self.time_elapsed() >= self.duration):
            return
        trainer.should_stop = True
        if self.verbose:
            elapsed = timedelta(seconds=int(self.time_elapsed()))
            trainer.print(f"Timer: {elapsed} of training are over, which is the limit", flush=True)

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._offset = state_dict["time_elapsed"]["train"]
