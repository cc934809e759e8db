"""Where the time of a run goes: ``Trainer(profiler=...)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leyden.errors import bad_value
from leyden.profilers.advanced import AdvancedProfiler
from leyden.profilers.base import PassThroughProfiler, Profiler
from leyden.profilers.pytorch import PyTorchProfiler
from leyden.profilers.simple import SimpleProfiler

__all__ = ["AdvancedProfiler", "PassThroughProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"]

BY_NAME: dict[str, Callable[[], Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def choose(given: Any) -> Profiler:
    """The profiler that an argument means."""
    if given is None:
        return PassThroughProfiler()
    if isinstance(given, Profiler):
        return given
    kind = BY_NAME.get(str(given).lower())
    if kind is None:
        raise bad_value("profiler", given, "'simple', 'advanced', 'pytorch', a Profiler, or None")
    return kind()
