"""How two runs of one program differ, in words."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any

TOLERANCE = 1e-6
"""Relative, of logged numbers. Weights have none."""


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """One line for each difference; none where the runs agree."""
    if bool(ours["raised"]) != bool(theirs["raised"]):
        who, said = ("Leyden", ours["raised"]) if ours["raised"] else ("Lightning", theirs["raised"])
        return [f"only {who} raises: {said}"]
    if ours["raised"]:
        found = list(_refused(ours["calls"], theirs["calls"]))
        return [*found, f"Leyden raises: {ours['raised']}", f"Lightning raises: {theirs['raised']}"] if found else []
    found = list(_calls(ours["calls"], theirs["calls"]))
    for part in ("logged", "values", "trainers", "weights"):
        found.extend(_values(ours[part], theirs[part], part, exact=part == "weights"))
    return found


def _refused(ours: list[str], theirs: list[str]) -> Iterator[str]:
    """Leyden may refuse earlier than Lightning, and must not have done anything else before."""
    done = [call for call in ours if "on_exception" not in call]
    if done != theirs[: len(done)]:
        yield from _calls(ours, theirs)


def _calls(ours: list[str], theirs: list[str]) -> Iterator[str]:
    """The calls around the first places that differ."""
    marked = difflib.unified_diff(theirs, ours, "Lightning", "Leyden", n=2, lineterm="")
    yield from list(marked)[:40]


def _values(ours: Any, theirs: Any, where: str, exact: bool) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            if key not in ours or key not in theirs:
                yield f"{where}.{key}: only with {'Leyden' if key in ours else 'Lightning'}"
            else:
                yield from _values(ours[key], theirs[key], f"{where}.{key}", exact)
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{where}: {ours!r} with Leyden, {theirs!r} with Lightning"
            return
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _values(mine, other, f"{where}[{index}]", exact)
    elif not _same(ours, theirs, exact):
        yield f"{where}: {ours!r} with Leyden, {theirs!r} with Lightning"


def _same(one: Any, other: Any, exact: bool) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other if exact else math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)
