"""A checkpoint when a run breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leyden.callbacks.base import Callback
from leyden.errors import LeydenError

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class OnExceptionCheckpoint(Callback):
    """Saves ``<dirpath>/<filename>.ckpt`` when a fit ends by an exception, on one process: a rank that broke cannot
    count on the others."""

    def __init__(self, dirpath: str | Path, filename: str = "on_exception") -> None:
        self.path = Path(dirpath) / f"{filename}.ckpt"

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.state.fn != "fit" or trainer.world_size > 1:
            return
        try:
            trainer.save_checkpoint(self.path)
        except LeydenError as error:
            trainer.warn(f"OnExceptionCheckpoint: {error}")
