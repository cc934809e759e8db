"""How fast a run is: batches, samples and items a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, bad_value

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

SEPARATOR = "/"


class ThroughputMonitor(Callback):
    """Logs ``train/device/batches_per_sec`` and ``.../samples_per_sec`` of this process, and of all processes without
    ``device/``, over the last ``window_size`` batches, each time that metrics go to the loggers.

    ``batch_size_fn(batch)`` gives a batch's samples; ``length_fn(batch)``, if given, its items (tokens, say), which
    adds ``items_per_sec``.
    """

    def __init__(
        self,
        batch_size_fn: Callable[[Any], int],
        length_fn: Callable[[Any], int] | None = None,
        window_size: int = 100,
        separator: str = SEPARATOR,
    ) -> None:
        if not isinstance(window_size, int) or window_size < 2:
            raise bad_value("window_size", window_size, "an integer of at least 2")
        self._size = batch_size_fn
        self._length = length_fn
        self._separator = separator
        self._window: deque[tuple[float, int, int]] = deque(maxlen=window_size)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.loggers:
            raise MisconfigurationError("ThroughputMonitor needs a logger: the Trainer has logger=False")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._window.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        length = self._length(batch) if self._length is not None else 0
        self._window.append((time.perf_counter(), self._size(batch), length))
        if trainer.logs_were_due and len(self._window) > 1:
            trainer.send_to_loggers(self._rates(trainer.world_size), trainer.run_state.batches_stepped)

    def _rates(self, world_size: int) -> dict[str, float]:
        counted = list(self._window)[1:]  # the first only says when the second began
        spent = max(counted[-1][0] - self._window[0][0], 1e-9)
        rates = {"batches": len(counted) / spent, "samples": sum(size for _, size, _ in counted) / spent}
        if self._length is not None:
            rates["items"] = sum(length for _, _, length in counted) / spent
        found: dict[str, float] = {}
        for name, rate in rates.items():
            found[self._separator.join(("train", "device", f"{name}_per_sec"))] = rate
            found[self._separator.join(("train", f"{name}_per_sec"))] = rate * world_size
        return found
