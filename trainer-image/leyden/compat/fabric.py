"""``lightning.fabric``: what libraries written for Lightning take from its lower half, private names included."""

from __future__ import annotations

from collections.abc import Sized
from os import PathLike
from typing import Any

from leyden.compat.for_loggers import _add_prefix, _convert_params, _flatten_dict, _sanitize_callable_params
from leyden.compat.types import _DEVICE, _MAP_LOCATION_TYPE, _PATH
from leyden.compat.utilities import (
    MisconfigurationException,
    PossibleUserWarning,
    WarningCache,
    disable_possible_user_warnings,
    move_data_to_device,
    rank_prefixed_message,
    rank_zero_debug,
    rank_zero_deprecation,
    rank_zero_info,
    rank_zero_only,
    rank_zero_warn,
    seed_everything,
    suggested_max_num_workers,
)
from leyden.loggers.base import FabricLogger as Logger
from leyden.loggers.base import rank_zero_experiment

__all__ = [
    "_DEVICE",
    "_MAP_LOCATION_TYPE",
    "_PATH",
    "Logger",
    "MisconfigurationException",
    "PossibleUserWarning",
    "WarningCache",
    "_add_prefix",
    "_convert_params",
    "_flatten_dict",
    "_sanitize_callable_params",
    "disable_possible_user_warnings",
    "get_filesystem",
    "move_data_to_device",
    "rank_prefixed_message",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_experiment",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
    "sized_len",
    "suggested_max_num_workers",
]


def get_filesystem(path: str | PathLike[str], **kwargs: Any) -> Any:
    """The fsspec file system of a path or a URL, made with ``kwargs``."""
    from fsspec.core import url_to_fs

    return url_to_fs(str(path), **kwargs)[0]


def sized_len(dataloader: object) -> int | None:
    """Its length; ``None`` where it has none, as a loader of an iterable data set may not."""
    if not isinstance(dataloader, Sized):
        return None
    try:
        return len(dataloader)
    except (TypeError, NotImplementedError):  # a loader has the method whatever its data set has
        return None
