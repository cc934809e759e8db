"""Progress for people: one line that is rewritten on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leyden.callbacks.progress_base import ProgressBar
from leyden.errors import at_least
from leyden.states import RunningStage

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

TERMINAL_SECONDS = 0.1
LINES_SECONDS = 5.0
CLEAR = "\x1b[2K"


class LineProgressBar(ProgressBar):
    """Shows epoch, step, speed, remaining time, and what was logged with ``prog_bar=True``."""

    leave = True
    """Whether the line of each epoch stays on a terminal."""

    metrics_format = ".4g"

    def __init__(self, refresh_seconds: float | None = None) -> None:
        self.terminal = sys.stdout.isatty()
        self.refresh_seconds = refresh_seconds or (TERMINAL_SECONDS if self.terminal else LINES_SECONDS)
        self._next = 0.0
        self._started = 0.0
        self._first_batch = 0
        self._evaluation_started = 0.0

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self.terminal:
            print(CLEAR, end="\r")
        print(*args, **kwargs)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._first_batch = trainer.run_state.batch_idx

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due(batch_idx):
            self._show_epoch(trainer, end="\r" if self.terminal else "\n")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_enabled:
            self._show_epoch(trainer, end="\n" if self.leave or not self.terminal else "\r")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_enabled and self.terminal and not self.leave:
            print(flush=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A short one shows nothing away from a terminal."""
        self.reset_dataloader_idx_tracker()
        if not self.terminal:
            self._next = max(self._next, time.monotonic() + self.refresh_seconds)

    on_test_start = on_predict_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.has_dataloader_changed(dataloader_idx):
            self._evaluation_started = time.monotonic()
        if self._is_due(batch_idx):
            what, batches = self._evaluation(trainer)
            which = f" {dataloader_idx + 1}/{len(batches)}" if len(batches) > 1 else ""
            line = _progress(what + which, batch_idx + 1, batches[dataloader_idx], batch_idx, self._evaluation_started)
            self._write(line, end="\r" if self.terminal else "\n")

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def _evaluation(self, trainer: Trainer) -> tuple[str, list[float]]:
        """What the stage that runs is called, and its batches by loader."""
        match trainer.state.stage:
            case RunningStage.TESTING:
                return self.test_description, trainer.num_test_batches
            case RunningStage.PREDICTING:
                return self.predict_description, trainer.num_predict_batches
            case RunningStage.SANITY_CHECKING:
                return self.sanity_check_description, trainer.num_sanity_val_batches
            case _:
                return self.validation_description, trainer.num_val_batches

    def _is_due(self, batch_idx: int) -> bool:
        if not self.is_enabled or batch_idx % self.refresh_rate:
            return False
        now = time.monotonic()
        due = now >= self._next
        if due:
            self._next = now + self.refresh_seconds
        return due

    def _show_epoch(self, trainer: Trainer, end: str) -> None:
        state = trainer.run_state
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs != -1 else ""
        what = f"{self.train_description} epoch {state.epoch + 1}{epochs}".lstrip()
        done, total = state.batch_idx, trainer.num_training_batches
        line = _progress(what, done, total, done - self._first_batch, self._started)
        metrics = self.get_metrics(trainer, trainer.lightning_module)
        shown = (
            f"{k}={v if isinstance(v, (str, int)) else format(float(v), self.metrics_format)}"
            for k, v in metrics.items()
        )
        self._write(" ".join([line, *shown]), end)

    def _write(self, line: str, end: str) -> None:
        print(f"{CLEAR}{line}" if self.terminal else line, end=end, flush=True)


def _progress(what: str, done: int, total: float, counted: int, started: float) -> str:
    """What is done of what, how fast, and the time that is left."""
    speed = counted / max(1e-9, time.monotonic() - started)
    known = not math.isinf(total)
    left = f" {(total - done) / speed:.0f}s left" if known and speed and done < total else ""
    return f"{what} batch {done}{f'/{int(total)}' if known else ''} {speed:.1f} it/s{left}"


class TQDMProgressBar(LineProgressBar):
    """:class:`LineProgressBar` by Lightning's name: looks at the clock every ``refresh_rate`` batches (0: shows none);
    with ``leave`` the line of each epoch stays. ``process_position`` has no effect."""

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        super().__init__()
        self.refresh_rate = at_least("refresh_rate", refresh_rate, 0, "a number of batches, or 0 for no bar")
        self.process_position = process_position
        self.leave = leave

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        for name in (f"init_{of}_tqdm" for of in ("sanity", "train", "validation", "test", "predict")):
            if hasattr(self, name):
                trainer.warn(f"{type(self).__name__}.{name} is not called: there is no tqdm behind the bar")


@dataclass
class RichProgressBarTheme:
    """Lightning's colours, which have no effect here, and the format of metrics, which has."""

    description: Any = ""
    progress_bar: Any = "#6206E0"
    progress_bar_finished: Any = "#6206E0"
    progress_bar_pulse: Any = "#6206E0"
    batch_progress: Any = ""
    time: Any = "dim"
    processing_speed: Any = "dim underline"
    metrics: Any = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


class RichProgressBar(LineProgressBar):
    """:class:`LineProgressBar` by Lightning's name, up to ``refresh_rate`` times a second on terminals (0: never).

    Of ``theme`` the format of metrics counts; ``console_kwargs`` have no effect.
    """

    def __init__(
        self,
        refresh_rate: int = 100,
        leave: bool = False,
        theme: RichProgressBarTheme = RichProgressBarTheme(),
        console_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        refresh_rate = at_least("refresh_rate", refresh_rate, 0, "times a second, or 0 for no bar")
        if self.terminal and refresh_rate:
            self.refresh_seconds = max(TERMINAL_SECONDS, 1 / refresh_rate)
        self.refresh_rate = min(refresh_rate, 1)
        self.leave = leave
        self.theme = theme
        self.metrics_format = theme.metrics_format
