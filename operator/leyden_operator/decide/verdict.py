"""Whether a training job is over, or has to start anew."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from leyden_contract import exit_codes
from leyden_contract.wire import Cause, RunPhase, in_one_line
from leyden_operator.decide import reasons
from leyden_operator.decide.children import CANNOT_START, Pod
from leyden_operator.decide.view import View

STORAGE = "CheckpointStorage"
"""The engine's reason for a checkpoint that could not be written."""


@dataclass(frozen=True)
class Verdict:
    """``again``: a new attempt from the newest checkpoint; ``cause``: where nobody else books that restart."""

    outcome: Literal["succeeded", "failed", "again"]
    reason: str = ""
    message: str = ""
    cause: Cause | None = None


def judge(view: View) -> Verdict | None:
    """The verdict on a job that has not ended; ``None``: it goes on."""
    report = view.report
    if (report and report.phase is RunPhase.FINISHED) or view.workers.finished:
        return Verdict("succeeded", reasons.COMPLETED, "training ended by its own rules")
    if late := _deadline(view):
        return late
    if hopeless := _hopeless(view):
        return hopeless
    if report and report.phase is RunPhase.FAILED:
        return _broken(view)
    if _pods_keep_failing(view):
        return _spent(view)
    if view.coordinator_lost:
        return Verdict("again", cause=Cause.NODE_LOST)
    return Verdict("again") if view.was_suspended and not view.job.spec.suspend else None


def _deadline(view: View) -> Verdict | None:
    seconds, start = view.job.spec.active_deadline_seconds, view.job.status.start_time
    if seconds is None or start is None or view.now < start + timedelta(seconds=seconds):
        return None
    message = f"activeDeadlineSeconds is {seconds}, and the job started at {start:%Y-%m-%dT%H:%M:%SZ}"
    return Verdict("failed", reasons.DEADLINE_EXCEEDED, message)


def _hopeless(view: View) -> Verdict | None:
    """What no restart can help: the coordinator says so, or a pod could not even start its program."""
    failure = view.report.first_failure if view.report else None
    told = failure is not None and not failure.retryable and view.report and view.report.phase is RunPhase.FAILED
    if told or any(_cannot_start(pod) for pod in view.workers.present):
        return Verdict("failed", reasons.NOT_RETRYABLE, cause(view))
    return None


def _cannot_start(pod: Pod) -> bool:
    return pod.ended and (pod.end.get("reason") in CANNOT_START or pod.exit_code == exit_codes.MISCONFIGURED)


def _broken(view: View) -> Verdict:
    """The coordinator's budget is spent. It counts since the attempt began, the job's window slides."""
    return _spent(view) if view.restarts.counted > view.job.spec.restarts.max else Verdict("again")


def _pods_keep_failing(view: View) -> bool:
    """Pods whose agent ends before it can join: the coordinator never hears of them."""
    workers, most = view.workers, view.job.spec.restarts.max
    window = view.now - timedelta(seconds=view.job.spec.restarts.window_seconds)
    for index in {pod.index for pod in workers.present}:
        recent = [pod for pod in workers.failures(index) if pod.ended_at and pod.ended_at > window]
        if len(recent) > most:
            return True
    return False


def _spent(view: View) -> Verdict:
    restarts = view.job.spec.restarts
    message = f"more than restarts.max ({restarts.max}) failures within {restarts.window_seconds} s; {cause(view)}"
    stored = view.last_failure is None or view.last_failure.reason != STORAGE
    return Verdict("failed", reasons.RESTART_BUDGET_SPENT if stored else reasons.CHECKPOINT_STORAGE_FAILED, message)


def cause(view: View) -> str:
    """The last failure in one line."""
    failure = view.last_failure
    if failure is None:
        return "the cause is not known"
    rank = "" if failure.rank is None else f" (rank {failure.rank})"
    return f"{in_one_line(failure.reason, failure.message)} in pod {failure.pod}{rank}"
