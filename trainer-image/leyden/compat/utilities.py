"""What ``lightning.pytorch.utilities`` is imported for."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from leyden.combined import CombinedLoader
from leyden.compat.helpers import (
    GradClipAlgorithmType,
    garbage_collection_cuda,
    get_init_args,
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
    "PossibleUserWarning",
    "SIGTERMException",
    "WarningCache",
    "disable_possible_user_warnings",
    "garbage_collection_cuda",
    "get_init_args",
    "grad_norm",
    "is_oom_error",
    "is_overridden",
    "isolate_rng",
    "measure_flops",
    "move_data_to_device",
    "rank_prefixed_message",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
    "suggested_max_num_workers",
]


class PossibleUserWarning(UserWarning):
    """For programs that silence Lightning's warnings of what may be meant."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Silence :class:`PossibleUserWarning` from modules whose names match."""
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)


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


@rank_zero_only
def rank_zero_debug(*args: Any) -> None:
    """A line for developers, on rank 0."""
    logging.getLogger("leyden").debug(*args, stacklevel=3)


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """The message with the rank that it is from."""
    return message if rank is None else f"[rank: {rank}] {message}"


class WarningCache(set[str]):
    """Warnings that were given, none of them twice."""

    def warn(self, message: str, stacklevel: int = 5, **kwargs: Any) -> None:
        """A warning on rank 0, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_warn(message, stacklevel=stacklevel, **kwargs)

    def deprecation(self, message: str, stacklevel: int = 6) -> None:
        """The same for developers."""
        if message not in self:
            self.add(message)
            rank_zero_deprecation(message, stacklevel=stacklevel)

    def info(self, message: str) -> None:
        """Print on rank 0, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_info(message)
