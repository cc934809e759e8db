"""Keeps the configuration of a run beside its logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.callbacks import Callback
from leyden.checkpoint.places import Place, place
from leyden.errors import MisconfigurationError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from leyden.cli.parser import LightningArgumentParser
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class SaveConfigCallback(Callback):
    """Writes the configuration to ``trainer.log_dir`` when a run starts, so that ``--config`` can repeat it.

    A file that is there already is an error unless ``overwrite``. ``save_to_log_dir=False`` leaves the writing to an
    override of :meth:`save_config`.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        if not save_to_log_dir and type(self).save_config is SaveConfigCallback.save_config:
            raise MisconfigurationError("save_to_log_dir=False saves nothing unless save_config is overridden")
        self.parser = parser
        self.config = config
        self.config_filename = config_filename
        self.overwrite = overwrite
        self.multifile = multifile
        self.save_to_log_dir = save_to_log_dir
        self.already_saved = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.already_saved:
            return
        self.already_saved = True
        problem = None
        if trainer.is_global_zero and self.save_to_log_dir:
            problem = self._write(place(trainer.log_dir or trainer.settings.default_root_dir) / self.config_filename)
        if (problem := trainer.strategy.broadcast(problem)) is not None:
            raise MisconfigurationError(problem)
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, stage)

    def _write(self, path: Place) -> str | None:
        """``None``, or why it was not written."""
        if path.exists() and not self.overwrite:
            return f"{path} is the configuration of an earlier run: remove it, or overwrite it by SaveConfigCallback"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(path, Path):
                options = {"overwrite": self.overwrite, "multifile": self.multifile}
                self.parser.save(self.config, str(path), skip_unset=False, **options)
            else:
                path.write_bytes(self.parser.dump(self.config, skip_unset=False).encode())
        except OSError as error:
            return f"the configuration cannot be written to {path}: {error.strerror}"
        return None

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> Any:
        """Override to keep the configuration elsewhere too. Called on rank 0 alone, so no collective calls."""
