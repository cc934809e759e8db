"""``lightning.pytorch.core.saving``: what classes call that load themselves in a way of their own."""

from __future__ import annotations

from typing import Any

from leyden.data import LightningDataModule
from leyden.module import LightningModule

__all__ = ["_load_from_checkpoint"]


def _load_from_checkpoint(
    cls: type, checkpoint_path: Any, map_location: Any = None, hparams_file: Any = None, strict: Any = None, **more: Any
) -> Any:
    """``load_from_checkpoint`` of the base class, whatever ``cls`` has made of it."""
    of_module = issubclass(cls, LightningModule)
    base: Any = LightningModule if of_module else LightningDataModule
    options = {"strict": strict} if of_module else {}
    return base.load_from_checkpoint.__func__(cls, checkpoint_path, map_location, hparams_file, **options, **more)
