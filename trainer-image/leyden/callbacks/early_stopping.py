"""Stop when a metric has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, at_least, one_of

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class EarlyStoppingReason(Enum):
    """Why training was stopped."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


class EarlyStopping(Callback):
    """Stop training when ``monitor`` has not improved by ``min_delta`` for ``patience`` checks.

    Also stops when it is not finite (``check_finite``), reaches ``stopping_threshold``, or is worse than
    ``divergence_threshold``; ``stopping_reason`` says which.
    A check is a validation, or with ``check_on_train_epoch_end`` the end of an epoch.
    """

    watches_metrics = True
    mode_dict = MappingProxyType({"min": torch.lt, "max": torch.gt})
    order_dict = MappingProxyType({"min": "<", "max": ">"})

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        if mode not in self.mode_dict:
            raise one_of("mode", mode, self.mode_dict)
        self.monitor = monitor
        self.min_delta = min_delta if mode == "max" else -min_delta
        self.patience = at_least("patience", patience, 0)
        self.verbose = verbose
        self.mode = mode
        self.strict = strict
        self.check_finite = check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.check_on_train_epoch_end = check_on_train_epoch_end
        self.log_rank_zero_only = log_rank_zero_only
        self.wait_count = 0
        self.stopped_epoch = 0
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None
        self.best_score = torch.tensor(math.inf if mode == "min" else -math.inf)

    @property
    def monitor_op(self) -> Callable[..., Tensor]:
        """Whether its first argument is better than its second, both tensors."""
        return self.mode_dict[self.mode]

    @property
    def state_key(self) -> str:
        return f"{type(self).__qualname__}{{'monitor': {self.monitor!r}, 'mode': {self.mode!r}}}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.wait_count = state_dict["wait_count"]
        self.stopped_epoch = state_dict["stopped_epoch"]
        self.best_score = state_dict["best_score"].cpu()
        self.patience = state_dict["patience"]
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.check_on_train_epoch_end is None:
            settings = trainer.settings
            self.check_on_train_epoch_end = settings.val_check_interval == 1.0 and settings.check_val_every_n_epoch == 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.check_on_train_epoch_end:
            self._check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.check_on_train_epoch_end and trainer.fitting and not trainer.sanity_checking:
            self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        metrics = trainer.callback_metrics
        if trainer.fast_dev_run:
            return
        if self.monitor not in metrics:
            if self.strict:
                known = ", ".join(sorted(metrics)) or "none"
                raise MisconfigurationError(f"EarlyStopping monitors {self.monitor!r}, but the metrics are: {known}")
            return
        reason = self._judge(metrics[self.monitor].detach().squeeze().cpu())
        if not trainer.strategy.reduce_boolean_decision(reason is not None, all=False):  # metrics may differ by rank
            return
        trainer.should_stop = True
        self.stopped_epoch = trainer.current_epoch
        if reason is None:
            return
        self.stopping_reason_message = f"{self.monitor} {reason}"
        if self.verbose and (trainer.is_global_zero or not self.log_rank_zero_only):
            rank = f"[rank {trainer.global_rank}] " if trainer.world_size > 1 else ""
            print(f"{rank}EarlyStopping: {self.stopping_reason_message}", flush=True)

    def _judge(self, value: Tensor) -> str | None:
        """Why to stop now, or ``None``. Compared in the metric's own precision."""
        better, best = self.monitor_op, self.best_score
        if self.check_finite and not torch.isfinite(value):
            self.stopping_reason = EarlyStoppingReason.NON_FINITE_METRIC
            return f"is {float(value)}"
        if self.stopping_threshold is not None and better(value, self.stopping_threshold):
            self.stopping_reason = EarlyStoppingReason.STOPPING_THRESHOLD
            return f"= {value:.4f} reached {self.stopping_threshold}"
        if self.divergence_threshold is not None and better(-value, -self.divergence_threshold):
            self.stopping_reason = EarlyStoppingReason.DIVERGENCE_THRESHOLD
            return f"= {value:.4f} is worse than {self.divergence_threshold}"
        if better(value - self.min_delta, best):
            self.best_score = value
            self.wait_count = 0
            return None
        self.wait_count += 1
        if self.wait_count >= self.patience:
            self.stopping_reason = EarlyStoppingReason.PATIENCE_EXHAUSTED
            return f"has not improved on {best:.4f} for {self.wait_count} checks"
        return None
