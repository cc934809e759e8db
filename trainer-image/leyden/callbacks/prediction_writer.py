"""Predictions that go to disk instead of into memory."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback
from leyden.errors import one_of

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class WriteInterval(StrEnum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Whether after each batch."""
        return self is not WriteInterval.EPOCH

    @property
    def on_epoch(self) -> bool:
        """Whether all together, in the end."""
        return self is not WriteInterval.BATCH


class BasePredictionWriter(Callback):
    """Override ``write_on_batch_end``, ``write_on_epoch_end`` or both, as ``write_interval`` says.

    Each rank writes what it predicted. ``batch_indices`` are the samples of a batch in the data set, or an empty list
    where the loader is not Leyden's to know.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        allowed = [interval.value for interval in WriteInterval]
        if write_interval not in allowed:
            raise one_of("write_interval", write_interval, allowed)
        self.interval = WriteInterval(write_interval)

    @property
    def keeps_predictions(self) -> bool:
        """Whether all predictions of the epoch are needed in the end."""
        return self.interval.on_epoch

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the prediction of one batch."""
        raise NotImplementedError

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        """Write all predictions; both arguments are lists by loader of lists by batch."""
        raise NotImplementedError

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.interval.on_batch:
            assert trainer.predict_loop is not None, "its hook runs in it"
            indices = trainer.predict_loop.current_batch_indices
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.keeps_predictions:
            loop = trainer.predict_loop
            assert loop is not None, "its hook runs in it"
            self.write_on_epoch_end(trainer, pl_module, loop.predictions, loop.epoch_batch_indices)
