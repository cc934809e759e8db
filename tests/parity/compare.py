"""How two runs of one program differ, in words."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any

TOLERANCE = 1e-6
"""Relative, of logged numbers. Weights have none."""
LIBRARIES = ("Leyden", "Lightning")


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
        found.extend(values_differ(ours[part], theirs[part], LIBRARIES, part, exact=part == "weights"))
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


def values_differ(one: Any, other: Any, names: tuple[str, str], where: str = "", *, exact: bool) -> Iterator[str]:
    """One line for each value that is not the same in both; floats may differ by ``TOLERANCE``, unless ``exact``."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            place = f"{where}.{key}".removeprefix(".")
            if key not in one or key not in other:
                yield f"{place}: only with {names[key not in one]}"
            else:
                yield from values_differ(one[key], other[key], names, place, exact=exact)
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield f"{where}: {one!r} with {names[0]}, {other!r} with {names[1]}"
            return
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from values_differ(*pair, names, f"{where}[{index}]", exact=exact)
    elif not _same(one, other, exact):
        yield f"{where}: {one!r} with {names[0]}, {other!r} with {names[1]}"


def _same(one: Any, other: Any, exact: bool) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other if exact else math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)
