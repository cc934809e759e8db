"""Learning rates as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, one_of

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

INTERVALS = (None, "step", "epoch")


class LearningRateMonitor(Callback):
    """Logs the learning rate of every parameter group, and on demand its momentum and weight decay.

    ``logging_interval``: ``"step"``, ``"epoch"``, or ``None`` for the interval of each optimizer's scheduler. Names are
    ``lr-<Optimizer>`` or the scheduler's ``name``, then ``-1``, ``-2`` for further optimizers of a class, then
    ``/pg1``, ``/pg2`` (or the group's ``name``) where there are several groups.
    """

    def __init__(
        self, logging_interval: str | None = None, log_momentum: bool = False, log_weight_decay: bool = False
    ) -> None:
        if logging_interval not in INTERVALS:
            raise one_of("logging_interval", logging_interval, INTERVALS)
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.lrs: dict[str, list[float]] = {}
        self.last_momentum_values: dict[str, float] = {}
        self.last_weight_decay_values: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.loggers:
            raise MisconfigurationError("LearningRateMonitor needs a logger: the Trainer has logger=False")
        self.lrs = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.logging_interval != "epoch" and trainer.logs_are_due:
            self._log(trainer, "step")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.logging_interval != "step":
            self._log(trainer, "epoch")

    def _log(self, trainer: Trainer, interval: str) -> None:
        values: dict[str, float] = {}
        for name, group, own_interval in _groups(trainer):
            if name in values:
                raise MisconfigurationError(f"two parameter groups would be logged as {name}: give them other names")
            if self.logging_interval is None and own_interval not in (None, interval):
                continue
            values.update(self._values(name, group))
            self.lrs.setdefault(name, []).append(group["lr"])
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        if values:
            trainer.log_everywhere(values, trainer.run_state.batches_stepped)

    def _values(self, name: str, group: dict[str, Any]) -> dict[str, float]:
        values = {name: group["lr"]}
        if self.log_momentum:
            momentum = group["betas"][0] if "betas" in group else group.get("momentum", 0)
            values[f"{name}-momentum"] = self.last_momentum_values[f"{name}-momentum"] = momentum
        if self.log_weight_decay:
            decay = group["weight_decay"]
            values[f"{name}-weight_decay"] = self.last_weight_decay_values[f"{name}-weight_decay"] = decay
        return values


def _groups(trainer: Trainer) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Name, parameter group and scheduler interval, those with a scheduler first."""
    named: list[tuple[Optimizer, str | None, str | None]] = [
        (config.scheduler.optimizer, config.name, config.interval) for config in trainer.lr_scheduler_configs
    ]
    with_scheduler = {id(optimizer) for optimizer, _, _ in named}
    named += [(optimizer, None, None) for optimizer in trainer.optimizers if id(optimizer) not in with_scheduler]
    counts: Counter[str] = Counter()
    for optimizer, own, interval in named:
        name = own
        if name is None:
            kind = type(optimizer).__name__
            name = f"lr-{kind}-{counts[kind]}" if counts[kind] else f"lr-{kind}"
            counts[kind] += 1
        groups = optimizer.param_groups
        for index, group in enumerate(groups, start=1):
            suffix = group.get("name", f"pg{index}" if len(groups) > 1 else None)
            yield (f"{name}/{suffix}" if suffix else name), group, interval
