"""Conditions: one function that says what is so now, and keeps the time since when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from leyden_operator.api import Condition

MESSAGE_LENGTH = 1024


@dataclass(frozen=True)
class Finding:
    """What a condition should say. ``type`` is the condition's."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


def truth(type: str, holds: bool, reason: str, message: str = "") -> Finding:
    return Finding(type, "True" if holds else "False", reason, message)


def holds(conditions: Iterable[Condition], type: str) -> bool:
    """Whether a condition is there and true."""
    return any(condition.type == type and condition.status == "True" for condition in conditions)


def reason_of(conditions: Iterable[Condition], type: str) -> str:
    """A condition's reason; empty where it is not there."""
    return next((condition.reason for condition in conditions if condition.type == type), "")


def updated(
    old: Iterable[Condition], found: Iterable[Finding], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions of ``found``, in its order. The time of transition changes only with the status."""
    before = {condition.type: condition for condition in old}
    result = []
    for item in found:
        same = before.get(item.type)
        since = same.last_transition_time if same and same.status == item.status else now
        result.append(
            Condition(
                type=item.type,
                status=item.status,
                reason=item.reason,
                message=item.message[:MESSAGE_LENGTH],
                observed_generation=generation,
                last_transition_time=since,
            )
        )
    return tuple(result)
