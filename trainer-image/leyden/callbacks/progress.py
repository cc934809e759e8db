"""Progress for people: one line that is rewritten on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

TERMINAL_SECONDS = 0.1
LINES_SECONDS = 5.0


class ProgressBar(Callback):
    """Shows epoch, step, speed, remaining time, and what was logged with ``prog_bar=True``. Rank 0 only."""

    def __init__(self, refresh_seconds: float | None = None) -> None:
        self.terminal = sys.stdout.isatty()
        self.refresh_seconds = refresh_seconds or (TERMINAL_SECONDS if self.terminal else LINES_SECONDS)
        self._next = 0.0
        self._started = 0.0
        self._first_batch = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._first_batch = trainer.run_state.batch_idx

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next and trainer.is_global_zero:
            self._next = now + self.refresh_seconds
            self._show(trainer, end="\r" if self.terminal else "\n")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._show(trainer, end="\n")

    def _show(self, trainer: Trainer, end: str) -> None:
        state, total = trainer.run_state, trainer.num_training_batches
        spent = max(1e-9, time.monotonic() - self._started)
        speed = (state.batch_idx - self._first_batch) / spent
        known = total != float("inf")
        left = f" {(total - state.batch_idx) / speed:.0f}s left" if known and speed and state.batch_idx < total else ""
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs != -1 else ""
        batches = f"{state.batch_idx}/{int(total)}" if known else str(state.batch_idx)
        metrics = " ".join(f"{name}={value:.4g}" for name, value in trainer.progress_bar_metrics.items())
        line = f"epoch {state.epoch + 1}{epochs} batch {batches} {speed:.1f} it/s{left} {metrics}".rstrip()
        print(f"\x1b[2K{line}" if self.terminal else line, end=end, flush=True)
