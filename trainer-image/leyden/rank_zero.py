"""What only the first process does."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TypeVar

from torch import distributed as dist

R = TypeVar("R")

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Where launchers say the rank of a process; before a process group exists, one node's is good enough."""


class RankZeroOnly:
    """The decorator :data:`rank_zero_only`, which knows the rank too, as programs ask it: ``rank_zero_only.rank``."""

    def __init__(self) -> None:
        self._told: int | None = None

    @property
    def rank(self) -> int:
        """Global rank: as the program set it here, else as its process group or its launcher says."""
        if self._told is not None:
            return self._told
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank()
        return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name)), 0)

    @rank.setter
    def rank(self, rank: int) -> None:
        self._told = rank

    def __call__(self, function: Callable[..., R]) -> Callable[..., R | None]:
        """Call the function on global rank 0 alone; elsewhere it gives ``None``."""

        @functools.wraps(function)
        def wrapped(*args: object, **kwargs: object) -> R | None:
            return function(*args, **kwargs) if is_rank_zero() else None

        return wrapped


rank_zero_only = RankZeroOnly()


def is_rank_zero() -> bool:
    """Whether this process has global rank 0."""
    return rank_zero_only.rank == 0
