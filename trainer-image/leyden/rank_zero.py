"""What only the first process does."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TypeVar

from torch import distributed as dist

R = TypeVar("R")


def is_rank_zero() -> bool:
    """Whether this process has global rank 0, as its process group or else its launcher says."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def rank_zero_only(function: Callable[..., R]) -> Callable[..., R | None]:
    """Call the function on global rank 0 alone; elsewhere it gives ``None``."""

    @functools.wraps(function)
    def wrapped(*args: object, **kwargs: object) -> R | None:
        return function(*args, **kwargs) if is_rank_zero() else None

    return wrapped
