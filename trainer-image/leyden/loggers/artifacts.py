"""Loggers whose server takes checkpoints too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.errors import one_of
from leyden.loggers.base import Logger

if TYPE_CHECKING:
    from leyden.callbacks import ModelCheckpoint

LOG_MODEL = (False, True, "all")


class ArtifactLogger(Logger):
    """Uploads what a ModelCheckpoint keeps: with ``log_model=True`` when the run has ended, with ``"all"`` (or where
    the callback keeps all) each time that it has saved."""

    def __init__(self, log_model: bool | str) -> None:
        if log_model not in LOG_MODEL:
            raise one_of("log_model", log_model, LOG_MODEL)
        self._log_model = log_model
        self._uploaded: dict[str, float] = {}
        """Time of the last change of what was uploaded, by path."""
        self._callbacks: dict[int, ModelCheckpoint] = {}

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        if not self._log_model:
            return
        self._callbacks[id(checkpoint_callback)] = checkpoint_callback
        if self._log_model == "all" or checkpoint_callback.save_top_k == -1:
            self._upload_new(checkpoint_callback)

    def _upload_kept(self) -> None:
        for callback in self._callbacks.values():
            self._upload_new(callback)

    def _upload_new(self, callback: ModelCheckpoint) -> None:
        for changed, path, score, _ in changed_checkpoints(callback, self._uploaded):
            aliases = ["latest", "best"] if path == callback.best_model_path else ["latest"]
            self._upload(path, _metadata(path, score, callback), aliases)
            self._uploaded[path] = changed

    def _upload(self, path: str, metadata: dict[str, Any], aliases: list[str]) -> None:
        raise NotImplementedError


def changed_checkpoints(callback: ModelCheckpoint, seen: Mapping[str, float]) -> list[tuple[float, str, Any, str]]:
    """What a callback keeps that changed since it was ``seen``, the oldest first.

    Of each the time of its change, its path, its score, and what it is: ``latest``, ``best`` or ``best_k``.
    """
    kept: dict[str, tuple[Any, str]] = {
        callback.last_model_path: (callback.current_score, "latest"),
        callback.best_model_path: (callback.best_model_score, "best"),
        **{path: (score, "best_k") for path, score in callback.best_k_models.items()},
    }
    found = [(Path(path).stat().st_mtime, path, *of_it) for path, of_it in kept.items() if Path(path).is_file()]
    return sorted((item for item in found if seen.get(item[1]) != item[0]), key=lambda item: item[0])


def _metadata(path: str, score: Any, callback: ModelCheckpoint) -> dict[str, Any]:
    options = ("monitor", "mode", "save_last", "save_top_k", "save_weights_only")
    return {
        "score": float(score) if score is not None else None,
        "original_filename": Path(path).name,
        type(callback).__name__: {name: getattr(callback, name) for name in options},
    }
