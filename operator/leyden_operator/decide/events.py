"""Events for people, told from the difference between two statuses."""

from collections.abc import Iterable

from leyden_operator.api import Condition, TrainingJobStatus
from leyden_operator.decide import reasons
from leyden_operator.decide.plan import Event

QUIET = (
    *(reasons.VALID, reasons.NOT_STARTED, reasons.FORMING, reasons.RESTARTING, reasons.FINISHED, reasons.CREATING_PODS),
    *(reasons.NOT_SUSPENDED, reasons.NOT_FINISHED, reasons.NOT_FAILED, reasons.ROLLING_OUT, reasons.READY),
)
BAD = ("Failed",)
"""Conditions that are bad news when they are true."""


def of_conditions(old: Iterable[Condition], new: Iterable[Condition]) -> list[Event]:
    """An event for each condition that says something new and worth a line."""
    before = {condition.type: (condition.status, condition.reason) for condition in old}
    found: dict[str, Event] = {}
    for condition in new:
        said = (condition.status, condition.reason)
        if said == before.get(condition.type) or condition.reason in QUIET or condition.status == "Unknown":
            continue
        good = (condition.status == "True") != (condition.type in BAD)
        good = good or condition.reason in (reasons.SUSPENDED, reasons.SUSPENDING)
        text = condition.message or f"{condition.type} is {condition.status}"
        found.setdefault(condition.reason, Event("Normal" if good else "Warning", condition.reason, text))
    return list(found.values())


def of_restarts(old: TrainingJobStatus, new: TrainingJobStatus) -> list[Event]:
    """An event for each cause that restarted training."""
    before = old.restarts.by_cause.model_dump()
    found = []
    for cause, count in new.restarts.by_cause.model_dump().items():
        if count <= before[cause]:
            continue
        failed = cause == "Failure"
        what = f"restart {count} by {cause}"
        if failed and new.last_failure:
            what += f": {new.last_failure.reason}: {new.last_failure.message}" if new.last_failure.message else ""
        found.append(Event("Warning" if failed else "Normal", f"RestartedAfter{cause}", what))
    if old.checkpoints.skipped != new.checkpoints.skipped:
        found += [Event("Warning", "CheckpointSkipped", why) for why in new.checkpoints.skipped]
    return found
