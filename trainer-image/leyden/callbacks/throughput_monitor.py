"""How fast a run is: batches, samples and items a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback
from leyden.errors import at_least

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

SEPARATOR = "/"


class ThroughputMonitor(Callback):
    """Logs ``train/device/batches_per_sec`` and ``.../samples_per_sec`` of this process, and of all processes without
    ``device/``, over the last ``window_size`` batches, each time that metrics go to the loggers; and the same of
    ``validate``, ``test`` and ``predict``, every ``log_every_n_steps`` batches.

    ``batch_size_fn(batch)`` gives a batch's samples; ``length_fn(batch)``, if given, its items (tokens, say), which
    adds ``items_per_sec``; the module's ``flops_per_batch``, if it has one, adds ``flops_per_sec``.
    """

    def __init__(
        self,
        batch_size_fn: Callable[[Any], int],
        length_fn: Callable[[Any], int] | None = None,
        window_size: int = 100,
        separator: str = SEPARATOR,
    ) -> None:
        self._measures = {"samples": batch_size_fn, **({"items": length_fn} if length_fn is not None else {})}
        self._separator = separator
        self._size = at_least("window_size", window_size, 2)
        self._window: deque[tuple[float, dict[str, float]]] = deque(maxlen=self._size)
        self._training = self._window

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._window.clear()

    on_test_start = on_predict_start = on_train_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._note(pl_module, batch)
        if trainer.logs_were_due:
            self._log(trainer, trainer.run_state.batches_stepped - 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training, self._window = self._window, deque(maxlen=self._size)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training goes on where it was, without the time that validation took."""
        away = time.perf_counter() - self._training[-1][0] if self._training else 0.0
        self._window = deque(((at + away, counts) for at, counts in self._training), maxlen=self._size)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        every = trainer.settings.log_every_n_steps
        self._note(pl_module, batch)
        if every and (batch_idx + 1) % every == 0 and not trainer.sanity_checking:
            self._log(trainer, batch_idx + 1)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def _note(self, module: LightningModule, batch: Any) -> None:
        counts = {"batches": 1.0, **{name: float(measure(batch)) for name, measure in self._measures.items()}}
        if (flops := getattr(module, "flops_per_batch", None)) is not None:
            counts["flops"] = float(flops)
        self._window.append((time.perf_counter(), counts))

    def _log(self, trainer: Trainer, step: int) -> None:
        if len(self._window) < 2:  # the first only says when the second began
            return
        stage = trainer.state.stage
        assert stage is not None, "a batch belongs to one"
        spent = max(self._window[-1][0] - self._window[0][0], 1e-9)
        found: dict[str, float] = {}
        for name in self._window[-1][1]:
            rate = sum(counts.get(name, 0.0) for _, counts in list(self._window)[1:]) / spent
            found[self._separator.join((stage.value, "device", f"{name}_per_sec"))] = rate
            found[self._separator.join((stage.value, f"{name}_per_sec"))] = rate * trainer.world_size
        trainer.send_to_loggers(found, step)
