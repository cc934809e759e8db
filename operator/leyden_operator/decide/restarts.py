"""Restarts: each counted once under its cause, failures within a sliding window."""

from datetime import datetime, timedelta

from leyden_contract.wire import Booking, Cause, Report
from leyden_operator.api import TrainingJob
from leyden_operator.api.training_status import CauseCounts, LastFailure, LedgerCursor, RestartsStatus
from leyden_operator.decide.children import Pod


def counted(job: TrainingJob, report: Report | None, coordinator: str, now: datetime) -> RestartsStatus:
    """The restarts with those of the coordinator's ledger added that were not counted before.

    ``coordinator``: UID of its pod. A new pod starts a new ledger; a restarted container goes on with the old one.
    """
    before = job.status.restarts
    cursor = before.ledger
    fresh: tuple[Booking, ...] = ()
    if report:
        done = cursor.entries if cursor.coordinator == coordinator else 0
        fresh = report.ledger[done:]
        cursor = LedgerCursor(coordinator=coordinator, entries=len(report.ledger))
    window = now - timedelta(seconds=job.spec.restarts.window_seconds)
    failures = (*before.recent, *(booking.at for booking in fresh if booking.cause is Cause.FAILURE))
    recent = tuple(at for at in failures if at > window)[-128:]
    last = fresh[-1] if fresh else None
    return RestartsStatus(
        counted=len(recent),
        by_cause=_add(before.by_cause, fresh),
        last_reason=(last.reason or last.cause.value)[:64] if last else before.last_reason,
        recent=recent,
        ledger=cursor,
    )


def with_one_more(before: RestartsStatus, cause: Cause) -> RestartsStatus:
    """One that no ledger has: the coordinator that would book it is itself what was lost."""
    counts = before.by_cause.model_dump()
    counts[cause.value] += 1
    changes = {"by_cause": CauseCounts.model_validate(counts), "last_reason": cause.value}
    return before.model_copy(update=changes)


def _add(before: CauseCounts, fresh: tuple[Booking, ...]) -> CauseCounts:
    counts = before.model_dump()
    for booking in fresh:
        counts[booking.cause.value] += 1
    return CauseCounts.model_validate(counts)


def last_failure(job: TrainingJob, report: Report | None, workers: list[Pod]) -> LastFailure | None:
    """The newest of what was known, what the coordinator tells, and pods that failed as a whole."""
    known = [job.status.last_failure] if job.status.last_failure else []
    told = report.first_failure if report else None
    if told:
        fields = told.model_dump(include={"pod", "node", "rank", "exit_code", "signal", "reason", "message", "at"})
        known.append(LastFailure.model_validate(fields))
    known += [_of_pod(pod) for pod in workers if _failed_alone(pod, report)]
    return max(known, key=lambda failure: failure.at, default=None)


def _failed_alone(pod: Pod, report: Report | None) -> bool:
    """Whether the pod itself tells most about a failure: its agent could not, or told of no rank."""
    told = report.first_failure if report else None
    if pod.cause is not Cause.FAILURE or pod.ended_at is None:
        return False
    explained = told is not None and (told.pod == pod.name or pod.exit_code == 1)
    return not explained


def _of_pod(pod: Pod) -> LastFailure:
    assert pod.ended_at is not None
    return LastFailure(
        pod=pod.name,
        node=pod.node,
        exit_code=pod.exit_code,
        reason=str(pod.end.get("reason") or "Error")[:64],
        message=str(pod.end.get("message") or "").strip()[-1024:],
        at=pod.ended_at,
    )
