"""Every function called in each action."""

from __future__ import annotations

import cProfile
import io
import pstats
import re
from pathlib import Path

from leyden.profilers.base import Profiler

NOT_IN_FILES = re.compile(r"[^\w.-]+")
"""Of an action's name, what a file's name should not have."""


class AdvancedProfiler(Profiler):
    """Python's ``cProfile`` for each action; the summary has the ``line_count_restriction`` (a number of lines, or a
    share of them) most expensive functions. An action within another belongs to the outer one. ``dump_stats`` writes
    what :mod:`pstats` reads to ``<dirpath>/<stage>-<action>.prof`` (default directory: the logger's)."""

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        line_count_restriction: int | float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath, filename)
        self.dump_stats = dump_stats
        self.line_count_restriction = line_count_restriction
        self.profiled_actions: dict[str, cProfile.Profile] = {}
        self._running: list[str] = []

    def start(self, action_name: str) -> None:
        self._running.append(action_name)
        if len(self._running) == 1:  # Python has one profiler at a time
            self.profiled_actions.setdefault(action_name, cProfile.Profile()).enable()

    def stop(self, action_name: str) -> None:
        if not self._running or self._running[-1] != action_name:
            raise ValueError(f"the action {action_name!r} ends and has not begun")
        self._running.pop()
        if not self._running:
            self.profiled_actions[action_name].disable()

    def summary(self) -> str:
        texts = []
        for name, profile in self.profiled_actions.items():
            if self.dump_stats:
                profile.dump_stats(self._file(f"{NOT_IN_FILES.sub('_', name)}.prof"))
            written = io.StringIO()
            stats = pstats.Stats(profile, stream=written).strip_dirs().sort_stats("cumulative")
            stats.print_stats(self.line_count_restriction)
            texts.append(f"Profile of {name}:\n{written.getvalue().strip()}")
        return "\n\n".join(texts)
