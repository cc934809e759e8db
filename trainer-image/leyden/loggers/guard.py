"""A run and its loggers: all calls of a Trainer to them go through here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from leyden.loggers.base import Logger
from leyden.rank_zero import is_rank_zero


def tell(loggers: Sequence[Logger], call: Callable[[Logger], Any]) -> None:
    """Make a call of each logger, on rank 0.

    No logger may end or change a run: one that fails is warned about, and left alone from then on.
    """
    for logger in loggers if is_rank_zero() else ():
        if logger.out_of_order:
            continue
        try:
            call(logger)
        except Exception as error:  # noqa: BLE001  it may fail in whatever way the library behind it does
            logger.out_of_order = True
            said = str(error).strip().splitlines()
            warnings.warn(
                f"{type(logger).__name__} failed and is left out from here on, training goes on: "
                f"{type(error).__name__}: {said[0] if said else ''}",
                stacklevel=2,
            )
