"""The decision on a training job."""

from datetime import datetime, timedelta
from typing import Any

from leyden_contract.wire import Membership, Report, RunPhase
from leyden_operator.api import Json, TrainingJob, TrainingJobStatus
from leyden_operator.api.training_status import NodesStatus
from leyden_operator.decide import events, reasons, restarts, training_conditions
from leyden_operator.decide.children import ONLY_MADE, covers, deletion, key
from leyden_operator.decide.conditions import Finding, updated
from leyden_operator.decide.plan import Deletion, Observed, Plan
from leyden_operator.decide.references import served
from leyden_operator.decide.summary import summary
from leyden_operator.decide.verdict import Verdict, judge
from leyden_operator.decide.view import View
from leyden_operator.decide.workers import Workers, membership, releasable
from leyden_operator.desired import names
from leyden_operator.desired import training as desired
from leyden_operator.settings import Settings

SOON = timedelta(seconds=2)
LATER = timedelta(seconds=10)
WATCHED = timedelta(seconds=60)
LEAVE = timedelta(seconds=60)
"""How long pods may take to end by themselves once the job is over."""


def decide_training(
    job: TrainingJob, observed: Observed, report: Report | None, settings: Settings, now: datetime
) -> Plan:
    """What to do for ``job`` as observed. ``report``: the coordinator's, ``None`` where it does not answer."""
    view = View(job, observed, report, settings, now)
    if job.metadata.deletion_timestamp:
        return Plan(status=job.status.to_json())
    if view.ended:
        return _clean_up(view)
    verdict = judge(view)
    if verdict and verdict.outcome == "again":
        return _new_attempt(view, verdict)
    if verdict:
        return _end(view, verdict)
    return _suspend(view) if job.spec.suspend else _train(view)


def _status(view: View, found: list[Finding], **changes: Any) -> TrainingJobStatus:
    """The whole status; ``changes`` are fields that differ from what the view says."""
    job, before = view.job, view.job.status
    word = training_conditions.phase(found)
    told = view.report
    nodes = NodesStatus(desired=job.spec.nodes.max, ready=told.nodes if told and word == "Running" else 0)
    fields: dict[str, Any] = {
        "conditions": updated(before.conditions, found, job.metadata.generation, view.now),
        "observed_generation": job.metadata.generation,
        "phase": word,
        "attempt": view.attempt,
        "start_time": before.start_time,
        "completion_time": before.completion_time,
        "nodes": nodes,
        "progress": view.progress,
        "restarts": view.restarts,
        "last_failure": view.last_failure,
        "checkpoints": view.checkpoints,
        "summary": summary(job, word, nodes, view.progress, view.checkpoints),
    }
    return TrainingJobStatus(**{**fields, **changes})


def _plan(view: View, status: TrainingJobStatus, again: timedelta | None, **actions: Any) -> Plan:
    before = view.job.status
    told = (*events.of_conditions(before.conditions, status.conditions), *events.of_restarts(before, status))
    return Plan(status=status.to_json(), events=told, look_again_after=again, **actions)


def _train(view: View) -> Plan:
    """Have all pods that there should be, and report."""
    workers = view.workers
    shared = _shared(view)
    places, wait = workers.missing()
    origin = view.origin
    made = [desired.worker(view.job, place, origin, _gang(view), view.settings) for place in places]
    coordinator = _coordinator(view)
    wanted = {key(child) for child in (*shared, coordinator, *made)}
    found = training_conditions.in_progress(view, wanted)
    held = found[0].status != "True" or bool(workers.former)
    drop = [*workers.former, *releasable(workers, view.report), *workers.spent()]
    gone = {pod.uid: deletion(pod.raw) for pod in drop if not pod.terminating}
    if view.coordinator and view.coordinator.ended:
        gone[view.coordinator.uid] = deletion(view.coordinator.raw)
    # Pods follow once what they need is there: a coordinator's name must resolve before an agent asks for it.
    apply = [] if held else [*_to_apply(view, [*shared, coordinator]), *made]
    started = view.job.status.start_time or (view.now.replace(microsecond=0) if apply else None)
    status = _status(view, found, start_time=started)
    again = min(part for part in (wait, _pace(view, held), _until_deadline(view)) if part is not None)
    actions = {"membership": _membership(view, workers), "delete": tuple(gone.values()), "apply": tuple(apply)}
    return _plan(view, status, again, **actions)


def _pace(view: View, held: bool) -> timedelta:
    if held and not view.workers.former:
        return LATER
    if view.coordinator and not view.coordinator.ready and not view.coordinator.terminating:
        # Nobody can tell anything yet, and what happens to pods is watched. Hundreds of jobs may wait for room.
        return WATCHED
    return timedelta(seconds=5) if view.report and view.report.phase is RunPhase.TRAINING else SOON


def _until_deadline(view: View) -> timedelta | None:
    seconds, start = view.job.spec.active_deadline_seconds, view.job.status.start_time
    if seconds is None or start is None:
        return None
    return max(timedelta(seconds=1), start + timedelta(seconds=seconds) - view.now)


def _gang(view: View) -> bool:
    """Whether workers start together. A gang stays one, so that its PodGroup follows ``nodes.min`` down to 1."""
    group = ("PodGroup", names.run_name(view.job.metadata.name, view.attempt))
    grouped = any(key(child) == group for child in view.children)
    wanted = view.job.spec.scheduling.gang != "none" and (view.job.spec.nodes.min > 1 or grouped)
    return view.observed.pod_groups and wanted


def _shared(view: View) -> list[Json]:
    """What the pods of the attempt have in common."""
    found = [
        desired.service(view.job, view.attempt),
        desired.network_policy(view.job, view.attempt, view.settings),
    ]
    return [*found, desired.pod_group(view.job, view.attempt)] if _gang(view) else found


def _coordinator(view: View) -> Json:
    budget = max(0, view.job.spec.restarts.max - view.restarts.counted)
    return desired.coordinator(view.job, view.attempt, budget, view.settings)


def _to_apply(view: View, wanted: list[Json]) -> list[Json]:
    """Those that are not there, or differ. Pods are only made."""
    there = {key(child): child for child in view.children}
    return [
        child
        for child in wanted
        if key(child) not in there or (child["kind"] != ONLY_MADE and not covers(there[key(child)], child))
    ]


def _membership(view: View, workers: Workers, suspend: bool = False) -> Membership | None:
    """``None`` while no coordinator listens."""
    if view.coordinator is None or not view.coordinator.ready:
        return None
    return membership(workers, suspend, served(view.job, view.observed.services))


def _new_attempt(view: View, verdict: Verdict) -> Plan:
    """Begin again from the newest checkpoint. Only the number is written: the next look acts on it."""
    found = [
        *training_conditions.in_progress(view, set())[:2],
        Finding("Running", "False", reasons.RESTARTING, f"attempt {view.attempt + 1} begins"),
        *training_conditions.in_progress(view, set())[3:],
    ]
    changes: dict[str, Any] = {"attempt": view.attempt + 1}
    if verdict.cause:
        changes["restarts"] = restarts.with_one_more(view.restarts, verdict.cause)
    return _plan(view, _status(view, found, **changes), SOON)


def _suspend(view: View) -> Plan:
    """Have the ranks commit a checkpoint and stop, then give everything back."""
    working = [pod for pod in view.workers.pods if not pod.ended and not pod.out_of_reach(view.now)]
    stopped = not working or (view.report is not None and view.report.phase is RunPhase.SUSPENDED)
    unheard = view.coordinator is None or not view.coordinator.ready
    # Without a coordinator nobody can be told, but a pod that is deleted commits a checkpoint all the same.
    gone = view.children if stopped else [pod.raw for pod in working if unheard or not pod.node]
    left = [child for child in gone if "deletionTimestamp" not in child["metadata"]]
    found = training_conditions.suspended(done=not working)
    told = None if stopped else _membership(view, view.workers, suspend=True)
    again = None if not view.children else SOON
    return _plan(view, _status(view, found), again, membership=told, delete=tuple(deletion(child) for child in left))


def _end(view: View, verdict: Verdict) -> Plan:
    """Write down how it ended; the next look clears up."""
    found = training_conditions.over(verdict)
    return _plan(view, _status(view, found, completion_time=view.now.replace(microsecond=0)), SOON)


def _clean_up(view: View) -> Plan:
    """Remove all but the ended worker pods, whose logs stay until the time to live is over."""
    status = view.job.status
    ended = status.completion_time or view.now
    working = [pod for pod in view.workers.pods if not pod.ended and not pod.terminating]
    on_their_own = not any(condition.reason == reasons.DEADLINE_EXCEEDED for condition in status.conditions)
    if working and on_their_own and view.now < ended + LEAVE:
        return Plan(status=status.to_json(), look_again_after=SOON)
    kept = {pod.uid for pod in view.workers.pods if pod.ended}
    ttl = view.job.spec.ttl_seconds_after_finished
    rest = None if ttl is None else ended + timedelta(seconds=ttl) - view.now
    if rest is not None and rest <= timedelta():
        kept = set()
    gone = [child for child in view.children if child["metadata"]["uid"] not in kept]
    again = rest if kept else None
    return Plan(status=status.to_json(), delete=_deletions(gone), look_again_after=again)


def _deletions(children: list[Json]) -> tuple[Deletion, ...]:
    return tuple(deletion(child) for child in children if "deletionTimestamp" not in child["metadata"])
