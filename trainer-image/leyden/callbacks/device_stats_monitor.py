"""Memory and load of the device as metrics."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import torch

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class DeviceStatsMonitor(Callback):
    """Logs, at the start and the end of batches whose metrics go to the loggers (in evaluation: of every
    ``log_every_n_steps``-th batch), what torch counts of the CUDA device's memory; on a CPU, or with
    ``cpu_stats=True``, the machine's load, memory and swap (needs psutil)."""

    def __init__(self, cpu_stats: bool | None = None) -> None:
        self.cpu_stats = cpu_stats

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not trainer.loggers:
            raise MisconfigurationError("DeviceStatsMonitor needs a logger: the Trainer has logger=False")
        on_cpu = trainer.strategy.device.type == "cpu"
        self.cpu_stats = on_cpu if self.cpu_stats is None else self.cpu_stats
        if self.cpu_stats and importlib.util.find_spec("psutil") is None:
            raise MisconfigurationError("DeviceStatsMonitor needs psutil for a CPU: pip install psutil")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.logs_are_due:
            self._log(trainer, trainer.run_state.batches_stepped)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.logs_were_due:
            self._log(trainer, trainer.run_state.batches_stepped - 1)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log_evaluation(trainer, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log_evaluation(trainer, batch_idx)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end

    def _log_evaluation(self, trainer: Trainer, batch_idx: int) -> None:
        every = trainer.settings.log_every_n_steps
        if every and (batch_idx + 1) % every == 0 and not trainer.sanity_checking:
            self._log(trainer, trainer.run_state.batches_stepped)

    def _log(self, trainer: Trainer, step: int) -> None:
        """Under the name of the hook that is running."""
        device = trainer.strategy.device
        values: dict[str, float] = {}
        if device.type == "cuda":
            values.update({name: float(value) for name, value in torch.cuda.memory_stats(device).items()})
        if self.cpu_stats:
            values.update(_cpu_stats())
        prefix = f"{type(self).__qualname__}.{trainer.scope.hook}"
        trainer.log_everywhere({f"{prefix}/{name}": value for name, value in values.items()}, step)


def _cpu_stats() -> dict[str, float]:
    psutil = importlib.import_module("psutil")
    return {
        "cpu_percent": psutil.cpu_percent(),
        "cpu_vm_percent": psutil.virtual_memory().percent,
        "cpu_swap_percent": psutil.swap_memory().percent,
    }
