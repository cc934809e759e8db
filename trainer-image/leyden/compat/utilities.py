"""What ``lightning.pytorch.utilities`` is imported for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from leyden import rng
from leyden.combined import CombinedLoader
from leyden.errors import MisconfigurationError as MisconfigurationException
from leyden.hparams import AttributeDict
from leyden.rank_zero import rank_zero_only
from leyden.rng import seed_everything

__all__ = [
    "AttributeDict",
    "CombinedLoader",
    "MisconfigurationException",
    "isolate_rng",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
]


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Iterator[None]:
    """Leave all generators as they were found, those of the current CUDA device with ``include_cuda``."""
    cuda = include_cuda and torch.cuda.is_available()
    with rng.isolated(torch.device("cuda", torch.cuda.current_device()) if cuda else None):
        yield


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
