"""Which of the files that a callback has saved are the best ones, by a monitored metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from leyden.callbacks.base import Checkpoint
from leyden.errors import MisconfigurationError, at_least, one_of

MODES = ("min", "max")
BOOKS = (
    "best_model_score",
    "best_model_path",
    "current_score",
    "best_k_models",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
)
"""What says which files are the best ones, and which is the last."""


class BestModels(Checkpoint):
    """Keeps the books of the ``save_top_k`` best files (-1: all; without a monitor, of the newest one)."""

    def __init__(self, monitor: str | None, mode: str, save_top_k: int) -> None:
        if mode not in MODES:
            raise one_of("mode", mode, MODES)
        save_top_k = at_least("save_top_k", save_top_k, -1, "-1 (all), 0 (none) or a number of files to keep")
        if monitor is None and save_top_k not in (-1, 0, 1):
            raise MisconfigurationError(f"save_top_k={save_top_k} needs a monitor: without one, use -1, 0 or 1")
        self.monitor = monitor
        self.mode = mode
        self.save_top_k = save_top_k
        self.best_k_models: dict[str, torch.Tensor] = {}
        self.best_model_path = ""
        self.best_model_score: torch.Tensor | None = None
        self.current_score: torch.Tensor | None = None
        self.kth_best_model_path = ""
        self.kth_value = torch.tensor(self.worst_value)
        self.last_model_path = ""

    def books(self) -> dict[str, Any]:
        """A copy, for :meth:`restore_books`."""
        return {**{name: getattr(self, name) for name in BOOKS}, "best_k_models": dict(self.best_k_models)}

    def restore_books(self, state: Mapping[str, Any]) -> None:
        """Take back :meth:`books`."""
        for name in BOOKS:
            setattr(self, name, state[name])
        self.best_k_models = dict(state["best_k_models"])

    @property
    def worst_value(self) -> float:
        return float("inf") if self.mode == "min" else -float("inf")

    @property
    def replaced(self) -> str:
        """The file whose place the next one takes: the worst of as many as there may be; empty where none goes."""
        if self.monitor is None:
            return self.best_model_path
        return self._worst() if len(self.best_k_models) == self.save_top_k else ""

    def is_among_best(self, score: torch.Tensor) -> bool:
        if self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k:
            return True
        one, worst = float(score), float(self.best_k_models[self._worst()])
        return one < worst if self.mode == "min" else one > worst

    def rank(self, path: str, score: torch.Tensor | None) -> str | None:
        """Take a file among the best. Returns the one that has to go."""
        if score is None:
            dropped = self.best_model_path if self.save_top_k == 1 else None
            self.best_model_path = path
            return dropped
        self.current_score = self.best_k_models[path] = score
        dropped = None
        if self.save_top_k != -1 and len(self.best_k_models) > self.save_top_k:
            dropped = self._worst()
            del self.best_k_models[dropped]
        pick = min if self.mode == "min" else max
        self.best_model_path = pick(self.best_k_models, key=lambda name: float(self.best_k_models[name]))
        self.best_model_score = self.best_k_models[self.best_model_path]
        if len(self.best_k_models) == self.save_top_k or self.save_top_k == -1:
            self.kth_best_model_path = self._worst()
            self.kth_value = self.best_k_models[self.kth_best_model_path]
        return dropped

    def _worst(self) -> str:
        pick = max if self.mode == "min" else min
        return pick(self.best_k_models, key=lambda name: float(self.best_k_models[name]))
