"""What one name of ``self.log`` holds until its epoch ends, and how values become one: of batches, and of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leyden.errors import one_of

Contribution = tuple[str, float, float]
"""Reduction, total and weight of one name on one rank."""

REDUCTIONS = ("mean", "sum", "min", "max")

FUNCTIONS = {torch.mean: "mean", torch.sum: "sum", sum: "sum"}
FUNCTIONS |= {torch.min: "min", min: "min", torch.max: "max", max: "max"}


def reduction(name: str, given: Any) -> str:
    """How values of ``log(name)`` become one: by its name in any case, ``avg`` too, or by a function of that name."""
    found: str | None
    if isinstance(given, str):
        found = given.lower().replace("avg", "mean")
    else:
        found = FUNCTIONS.get(given) if callable(given) else None
    if found is None or found not in REDUCTIONS:
        raise one_of(f"log({name!r}) reduce_fx", given, REDUCTIONS)
    return found


class Metrics(NamedTuple):
    """Values by name: those that callbacks decide by, those for loggers, and those that a progress bar shows."""

    callback: dict[str, Tensor]
    logged: dict[str, Tensor]
    progress_bar: dict[str, Tensor]

    def add(self, name: str, value: Any, logger: bool, prog_bar: bool, *, callback: tuple[str, ...]) -> None:
        """Put a value where it is shown: as ``name``, and under the names that it has for callbacks."""
        value = torch.as_tensor(value)
        self.callback.update(dict.fromkeys(callback, value))
        if logger:
            self.logged[name] = value
        if prog_bar:
            self.progress_bar[name] = value

    def update(self, newer: Metrics) -> None:
        """Take newer values."""
        for mine, theirs in zip(self, newer, strict=True):
            mine.update(theirs)


class Reduced(NamedTuple):
    """What one name came to in an epoch, over all ranks."""

    name: str
    bare: str
    """The name without ``_epoch``."""
    value: float
    dataloader_idx: int | None
    logger: bool
    prog_bar: bool

    def show(self, metrics: Metrics) -> None:
        """Put it among the values for all who ask."""
        metrics.add(self.name, self.value, self.logger, self.prog_bar, callback=(self.bare, self.name))


class Options(NamedTuple):
    """How a name is logged, in the order in which a checkpoint holds them."""

    prog_bar: bool
    logger: bool
    on_step: bool
    on_epoch: bool
    reduce: str
    keep_graph: bool
    sync: bool | None
    rank_zero_only: bool


@dataclass(slots=True)
class Entry:
    """All that one name holds in one hook."""

    name: str
    suffix: str
    """Says which loader of several."""
    asked: tuple[Any, ...]
    """The options as ``log`` was given them."""
    options: Options
    """What they mean in the hook."""
    value: Any = None
    is_new: bool = False
    """Whether nobody has asked for the value yet."""
    total: Any = None
    weight: float = 0
    metric: Any = None
    reduced: bool = False
    """Whether the epoch's value is known."""

    @property
    def full_name(self) -> str:
        return self.name + self.suffix

    @property
    def step_name(self) -> str:
        return f"{self.name}_step{self.suffix}" if self.options.on_epoch else self.full_name

    @property
    def epoch_name(self) -> str:
        return f"{self.name}_epoch{self.suffix}" if self.options.on_step else self.full_name

    def add(self, value: Any, weight: float) -> None:
        """Take a value into the epoch's running result."""
        reduce = self.options.reduce
        if reduce in ("mean", "sum"):
            self._accumulate(value, weight)
        else:
            self.total = value if self.total is None else extreme(reduce, self.total, value)
        self.weight += weight

    def _accumulate(self, value: Any, weight: float) -> None:
        if isinstance(self.total, Tensor):
            self.total.add_(value, alpha=weight)
        elif isinstance(value, Tensor):
            wide = value.to(torch.promote_types(value.dtype, torch.float32)).mul(weight)
            self.total = wide if self.total is None else wide.add_(self.total)
        else:
            self.total = (self.total or 0.0) + value * weight

    def contribution(self) -> Contribution | None:
        """This rank's part of the epoch's value, or ``None`` where nothing was logged."""
        if self.metric is not None and hasattr(self.metric, "ratio"):
            numerator, denominator = self.metric.ratio()
            return ("mean", numerator, denominator)
        if self.total is None:
            return None
        return (self.options.reduce, float(self.total), float(self.weight))

    def reset(self) -> None:
        self.value = self.total = None
        self.is_new = False
        self.weight = 0
        self.reduced = False
        if self.metric is not None:
            self.metric.reset()
            self.metric = None


def extreme(reduce: str, one: Any, other: Any) -> Any:
    """The lesser (``min``) or the greater of two values, either of which may be a tensor."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        choose = torch.minimum if reduce == "min" else torch.maximum
        return choose(torch.as_tensor(one), torch.as_tensor(other))
    return min(one, other) if reduce == "min" else max(one, other)


def merge(contributions: Iterable[Contribution]) -> float:
    """One value from the contributions of all ranks. Nothing counted at all gives NaN."""
    given = list(contributions)
    reduce = given[0][0]
    totals = [total for _, total, _ in given]
    if reduce == "mean":
        weight = sum(weight for _, _, weight in given)
        return sum(totals) / weight if weight else math.nan
    if reduce == "sum":
        return sum(totals)
    return min(totals) if reduce == "min" else max(totals)
