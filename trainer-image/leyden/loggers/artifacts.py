"""Loggers whose server takes checkpoints too."""

from __future__ import annotations

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
        scores: dict[str, Any] = {
            callback.last_model_path: None,
            callback.best_model_path: callback.best_model_score,
            **callback.best_k_models,
        }
        changed = {path: Path(path).stat().st_mtime for path in scores if Path(path).is_file()}
        for path in sorted(changed, key=lambda path: changed[path]):
            if self._uploaded.get(path) == changed[path]:
                continue
            aliases = ["latest", "best"] if path == callback.best_model_path else ["latest"]
            self._upload(path, _metadata(path, scores[path], callback), aliases)
            self._uploaded[path] = changed[path]

    def _upload(self, path: str, metadata: dict[str, Any], aliases: list[str]) -> None:
        raise NotImplementedError


def _metadata(path: str, score: Any, callback: ModelCheckpoint) -> dict[str, Any]:
    options = ("monitor", "mode", "save_last", "save_top_k", "save_weights_only")
    return {
        "score": float(score) if score is not None else None,
        "original_filename": Path(path).name,
        type(callback).__name__: {name: getattr(callback, name) for name in options},
    }
