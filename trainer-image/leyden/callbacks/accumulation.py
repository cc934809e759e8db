"""Gradient accumulation that changes with the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, bad_value

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class GradientAccumulationScheduler(Callback):
    """From each epoch in ``scheduling`` on, accumulate its number of batches; 1 before the first."""

    def __init__(self, scheduling: dict[int, int]) -> None:
        allowed = "a dict from epochs (integers of at least 0) to numbers of batches (integers of at least 1)"
        if not scheduling or any(
            not isinstance(epoch, int) or epoch < 0 or not isinstance(batches, int) or batches < 1
            for epoch, batches in scheduling.items()
        ):
            raise bad_value("scheduling", scheduling, allowed)
        self.scheduling = {0: 1, **scheduling}

    def going_to_accumulate_grad_batches(self) -> bool:
        """Whether any epoch accumulates."""
        return any(batches > 1 for batches in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Batches that make a step in ``epoch``."""
        return self.scheduling[max(start for start in self.scheduling if start <= epoch)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not pl_module.automatic_optimization:
            raise MisconfigurationError("GradientAccumulationScheduler needs automatic optimization")
        if trainer.settings.accumulate_grad_batches != 1:
            raise MisconfigurationError(
                "accumulate_grad_batches and GradientAccumulationScheduler exclude each other: leave one out"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.accumulate_grad_batches = self.get_accumulate_grad_batches(trainer.current_epoch)
