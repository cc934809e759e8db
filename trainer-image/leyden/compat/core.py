"""``lightning.pytorch.core.hooks``: the hooks as base classes."""

from __future__ import annotations

from typing import Any

from leyden.hooks import DataHooks
from leyden.module_hooks import ModuleHooks as ModelHooks

__all__ = ["CheckpointHooks", "DataHooks", "ModelHooks"]


class CheckpointHooks:
    """What may be added to a checkpoint, and taken from it."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Before it is written."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Before the weights are loaded."""
