"""An end to training when the loss leaps or is not a number."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leyden.callbacks.base import Callback
from leyden.callbacks.best_models import MODES
from leyden.errors import LeydenError, at_least, one_of

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class TrainingSpikeException(LeydenError):
    """The loss of a batch was a spike. Running again from the last checkpoint meets the same batch, so look first."""

    retryable = False

    def __init__(self, message: str, batch_idx: int) -> None:
        super().__init__(message)
        self.batch_idx = batch_idx


class SpikeDetection(Callback):
    """Ends the run with :class:`TrainingSpikeException` when the loss of a batch, from the ``warmup``-th of an epoch
    on, is worse than the one before it and off the mean of the last ``window`` losses by at least ``atol`` and by at
    least ``rtol`` times that mean (``None``: any), or with ``finite_only`` when it is not finite.

    To stop at NaN and infinity alone: ``SpikeDetection(warmup=0, rtol=math.inf)``. Any rank's spike counts. The batch
    and the one before it are added to the JSON list ``exclude_batches_path`` (default
    ``<default_root_dir>/skip_batches.json``). Reading the loss waits for the device, in each step.
    """

    def __init__(
        self,
        mode: str = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | Path | None = None,
        finite_only: bool = True,
    ) -> None:
        if mode not in MODES:
            raise one_of("mode", mode, MODES)
        window = at_least("window", window, 1)
        self.mode = mode
        self.warmup = warmup
        self.atol = atol
        self.rtol = rtol
        self.exclude_batches_path = exclude_batches_path
        self.finite_only = finite_only
        self.last_val = 0.0
        self.bad_batches: list[int] = []
        self._losses: deque[float] = deque(maxlen=window)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
        if not isinstance(loss, Tensor):
            return  # training_step skipped the batch
        value = float(loss)
        spike = batch_idx >= self.warmup and self.is_spike(value)
        if float(trainer.strategy.reduce_number(float(spike), "max")):
            self._report(trainer, value, batch_idx)
        if math.isfinite(value):
            self._losses.append(value)
            self.last_val = value

    def is_spike(self, value: float) -> bool:
        """Whether a loss is a spike after those seen so far."""
        if not math.isfinite(value):
            return self.finite_only
        better = value <= self.last_val if self.mode == "min" else value >= self.last_val
        if better or not self._losses:
            return False
        mean = sum(self._losses) / len(self._losses)
        off = abs(value - mean)
        far = self.atol is None or off >= abs(self.atol)
        return far and (self.rtol is None or off >= abs(self.rtol * mean))

    def _report(self, trainer: Trainer, value: float, batch_idx: int) -> None:
        self.bad_batches += [batch_idx - 1, batch_idx]
        root = trainer.settings.default_root_dir
        path = Path(self.exclude_batches_path or (root if isinstance(root, Path) else Path.cwd()))
        path = path if path.suffix == ".json" else path / "skip_batches.json"
        if trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.bad_batches) + "\n")
        mean = f"{sum(self._losses) / len(self._losses):.4g}" if self._losses else "unknown"
        raise TrainingSpikeException(
            f"the loss is {value:.4g} in batch {batch_idx} of epoch {trainer.current_epoch}, step "
            f"{trainer.global_step}, and was {mean} in the mean of the last ones; batches to look at are in {path}",
            batch_idx,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"last_val": self.last_val, "bad_batches": self.bad_batches, "losses": list(self._losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_val = state_dict["last_val"]
        self.bad_batches = list(state_dict["bad_batches"])
        self._losses.extend(state_dict["losses"])
