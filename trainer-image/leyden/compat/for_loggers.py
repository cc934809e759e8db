"""What loggers of other projects take from Lightning's own. The names are Lightning's, private as they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leyden.loggers.artifacts import changed_checkpoints as _scan_checkpoints
from leyden.loggers.base import FabricLogger as Logger
from leyden.loggers.base import as_dict as _convert_params
from leyden.loggers.base import flatten as _flatten_dict
from leyden.loggers.base import rank_zero_experiment

__all__ = [
    "Logger",
    "_add_prefix",
    "_convert_params",
    "_flatten_dict",
    "_sanitize_callable_params",
    "_scan_checkpoints",
    "rank_zero_experiment",
]


def _sanitize_callable_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Functions and classes among hyperparameters as their names."""
    return {
        name: getattr(value, "__name__", str(value)) if callable(value) else value for name, value in params.items()
    }


def _add_prefix(metrics: Mapping[str, float], prefix: str, separator: str) -> Mapping[str, float]:
    """Metrics by names with the logger's prefix."""
    return {f"{prefix}{separator}{name}": value for name, value in metrics.items()} if prefix else metrics
