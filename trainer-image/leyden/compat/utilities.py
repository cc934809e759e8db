"""What ``lightning.pytorch.utilities`` is imported for."""

from __future__ import annotations

import warnings
from typing import Any

from leyden.combined import CombinedLoader
from leyden.compat.helpers import (
    GradClipAlgorithmType,
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
from leyden.errors import SIGTERMException
from leyden.hparams import AttributeDict
from leyden.rank_zero import rank_zero_only
from leyden.rng import seed_everything

__all__ = [
    "AttributeDict",
    "CombinedLoader",
    "GradClipAlgorithmType",
    "MisconfigurationException",
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
