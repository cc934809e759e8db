"""Rows of the table: figures of several rounds, their median and spread, and the target beside them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

Key = TypeVar("Key")
Figure = TypeVar("Figure")
SUBJECTS = ("raw", "leyden", "lightning")
HEADINGS = ("what", "raw torch", "Leyden", "Lightning 2.6.6", "target", "met")


class Spent(NamedTuple):
    """Seconds on the wall's clock, and of this process on a processor."""

    wall: float
    processor: float


class Watch:
    """Measures from its making on."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        return Spent(time.perf_counter() - self.began[0], time.process_time() - self.began[1])


@dataclass
class Row:
    """One line of the table. ``target``: the most that Leyden's median may be, in ``unit``."""

    what: str
    figures: Mapping[str, list[float]]
    """By subject, a figure for each round."""
    unit: str = ""
    target: float | None = None
    digits: int = 1
    facts: Mapping[str, str] = field(default_factory=dict)
    """Cells that are no figure."""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return statistics.median(self.figures["leyden"]) <= self.target

    def cells(self) -> list[str]:
        shown = [self.facts.get(subject) or self._cell(self.figures.get(subject, [])) for subject in SUBJECTS]
        target = "" if self.target is None else f"{self.target:g} {self.unit}"
        return [self.what, *shown, target, {None: "", True: "yes", False: "NO"}[self.met]]

    def _cell(self, values: list[float]) -> str:
        if not values:
            return ""
        text = f"{statistics.median(values):,.{self.digits}f} {self.unit}".rstrip()
        if len(values) < 2:
            return text
        low, _, high = statistics.quantiles(values, n=4)
        return f"{text} ({low:,.{self.digits}f} to {high:,.{self.digits}f})"


def interleaved(runs: Mapping[Key, Callable[[], Figure]], rounds: int) -> dict[Key, list[Figure]]:
    """Every run once in each round, after one round that warms up: what disturbs the machine disturbs all alike."""
    figures: dict[Key, list[Figure]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            figures[name].append(run())
    return {name: taken[1:] for name, taken in figures.items()}


def over(more: list[float], less: list[float], scale: float) -> list[float]:
    """What one run takes more than the other of the same round, scaled."""
    return [(one - other) * scale for one, other in zip(more, less, strict=True)]


def print_table(title: str, rows: list[Row]) -> None:
    """As Markdown, medians with quartiles."""
    lines = [list(HEADINGS), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    print(f"\n{title}\n")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |", flush=True)
