"""The status of a resource whose spec the API server let through and the models do not."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import ValidationError

from leyden_operator.api import Condition, Json
from leyden_operator.decide import reasons
from leyden_operator.decide.conditions import truth, updated

FIRST = {"TrainingJob": ("Accepted",), "InferenceService": ("UpToDate", "Ready")}
"""Conditions that say so, by kind."""


def sentence(error: ValidationError) -> str:
    """What is wrong, with field and value, in one line."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}, not {first['input']!r}"[:1024]


def invalid_status(kind: str, old: Iterable[Condition], error: ValidationError, generation: int, now: datetime) -> Json:
    """Fields of the status to merge into the present one."""
    before = {condition.type: condition for condition in old}
    found = [truth(name, False, reasons.INVALID_SPEC, sentence(error)) for name in FIRST[kind]]
    changed = updated(before.values(), found, generation, now)
    conditions = {**before, **{condition.type: condition for condition in changed}}
    return {
        "observedGeneration": generation,
        "conditions": [condition.to_json() for condition in conditions.values()],
    }
