"""``core.saving`` and ``fabric.utilities.cloud_io`` of Lightning: what those call who load by themselves."""

from __future__ import annotations

from typing import Any

from leyden.checkpoint.loading import read
from leyden.compat.utilities import get_filesystem
from leyden.data import LightningDataModule
from leyden.errors import only_weights
from leyden.module import LightningModule

__all__ = ["_load", "_load_from_checkpoint", "get_filesystem"]


def _load(path_or_url: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
    """The contents of a checkpoint, as far as nothing in it can run code."""
    only_weights(weights_only)
    return read(path_or_url, map_location)


def _load_from_checkpoint(
    cls: type, checkpoint_path: Any, map_location: Any = None, hparams_file: Any = None, strict: Any = None, **more: Any
) -> Any:
    """``load_from_checkpoint`` of the base class, whatever ``cls`` has made of it."""
    of_module = issubclass(cls, LightningModule)
    base: Any = LightningModule if of_module else LightningDataModule
    options = {"strict": strict} if of_module else {}
    return base.load_from_checkpoint.__func__(cls, checkpoint_path, map_location, hparams_file, **options, **more)
