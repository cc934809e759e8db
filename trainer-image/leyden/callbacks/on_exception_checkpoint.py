"""A checkpoint when a run breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leyden.callbacks.base import Checkpoint
from leyden.checkpoint.places import place
from leyden.errors import LeydenError, bad_value

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class OnExceptionCheckpoint(Checkpoint):
    """Saves ``<dirpath>/<filename>.ckpt`` when a fit ends by an exception, on one process: a rank that broke cannot
    count on the others. The next ``fit`` goes on from it, unless it is given another ``ckpt_path``, and removes it when
    it has ended well, so that the one after starts afresh."""

    FILE_EXTENSION = ".ckpt"

    def __init__(self, dirpath: str | Path, filename: str = "on_exception") -> None:
        if not filename:
            raise bad_value("filename", filename, "a name without its ending")
        self.path = place(dirpath) / f"{filename}{self.FILE_EXTENSION}"

    @property
    def ckpt_path(self) -> str:
        """Where the checkpoint goes."""
        return str(self.path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.state.fn != "fit" or trainer.world_size > 1:
            return
        try:
            trainer.save_checkpoint(self.ckpt_path)
        except LeydenError as error:
            trainer.warn(f"OnExceptionCheckpoint: {error}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self.path.unlink(missing_ok=True)
