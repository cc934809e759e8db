"""What ``lightning.pytorch.utilities`` is imported for."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from leyden.callbacks import ModelSummary
from leyden.combined import CombinedLoader
from leyden.compat.helpers import (
    GradClipAlgorithmType,
    SIGTERMException,
    garbage_collection_cuda,
    grad_norm,
    is_oom_error,
    is_overridden,
    isolate_rng,
    measure_flops,
    move_data_to_device,
    suggested_max_num_workers,
)
from leyden.errors import MisconfigurationError as MisconfigurationException
from leyden.hparams import AttributeDict
from leyden.rng import seed_everything

__all__ = [
    "AttributeDict",
    "CombinedLoader",
    "GradClipAlgorithmType",
    "MisconfigurationException",
    "ModelSummary",
    "SIGTERMException",
    "garbage_collection_cuda",
    "grad_norm",
    "is_oom_error",
    "is_overridden",
    "isolate_rng",
    "measure_flops",
    "move_data_to_device",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
    "suggested_max_num_workers",
]

R = TypeVar("R")


def rank_zero_only(function: Callable[..., R]) -> Callable[..., R | None]:
    """Call the function on global rank 0 alone; elsewhere it gives ``None``."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R | None:
        return function(*args, **kwargs) if os.environ.get("RANK", "0") == "0" else None

    return wrapped


@rank_zero_only
def rank_zero_warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 4) -> None:
    """A warning on rank 0."""
    warnings.warn(message, category, stacklevel)


@rank_zero_only
def rank_zero_deprecation(message: str, stacklevel: int = 5) -> None:
    """A warning of the kind that developers see, on rank 0."""
    warnings.warn(message, DeprecationWarning, stacklevel)


@rank_zero_only
def rank_zero_info(*args: Any) -> None:
    """Print on rank 0."""
    print(*args, flush=True)
