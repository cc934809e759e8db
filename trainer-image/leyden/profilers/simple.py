"""How often each action ran, and how long."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

from leyden.profilers.base import Profiler

HEAD = ("Action", "Mean (s)", "Calls", "Total (s)", "Share %")


class SimpleProfiler(Profiler):
    """Wall-clock seconds by action, the longest first; ``extended=False`` leaves out calls and shares."""

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None, extended: bool = True) -> None:
        super().__init__(dirpath, filename)
        self.extended = extended
        self.current_actions: dict[str, float] = {}
        self.recorded_durations: dict[str, list[float]] = defaultdict(list)
        self.start_time = time.perf_counter()

    def start(self, action_name: str) -> None:
        if action_name in self.current_actions:
            raise ValueError(f"the action {action_name!r} began before and has not ended")
        self.current_actions[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        began = self.current_actions.pop(action_name, None)
        if began is None:
            raise ValueError(f"the action {action_name!r} ends and has not begun")
        self.recorded_durations[action_name].append(time.perf_counter() - began)

    def summary(self) -> str:
        whole = time.perf_counter() - self.start_time
        rows: list[tuple[str, ...]] = [HEAD]
        for name, seconds in sorted(self.recorded_durations.items(), key=lambda item: -sum(item[1])):
            total = sum(seconds)
            share = f"{100 * total / whole:.3f}"
            rows.append((name, f"{total / len(seconds):.5f}", str(len(seconds)), f"{total:.5f}", share))
        if not self.extended:
            rows = [(name, mean, total) for name, mean, _, total, _ in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join(lines)
