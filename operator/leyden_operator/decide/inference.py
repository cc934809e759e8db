"""The decision on an inference service."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from leyden_contract import exit_codes
from leyden_operator.api import InferenceService, InferenceServiceStatus, Json
from leyden_operator.api.inference import Rejected, Served, ServiceSummary
from leyden_operator.decide import events, reasons
from leyden_operator.decide.children import (
    CONFIG_PROBLEMS,
    IMAGE_PROBLEMS,
    Pod,
    covers,
    deletion,
    key,
    owned,
)
from leyden_operator.decide.conditions import Finding, truth, updated
from leyden_operator.decide.plan import Deletion, Event, Observed, Plan
from leyden_operator.decide.references import missing_finding, select, served_format
from leyden_operator.desired import names, serving
from leyden_operator.settings import Settings

SOON = timedelta(seconds=2)
LATER = timedelta(seconds=10)
REJECTED_KEPT = 16
BLOCKING = (
    reasons.NAME_CONFLICT,
    reasons.CONFIG_MAP_NOT_FOUND,
    reasons.PERSISTENT_VOLUME_CLAIM_NOT_FOUND,
)
"""Reasons for which nothing is applied: what runs goes on."""


@dataclass(frozen=True)
class View:
    """A service and everything that is known of it."""

    service: InferenceService
    observed: Observed
    settings: Settings
    now: datetime

    @cached_property
    def children(self) -> list[Json]:
        return owned(self.observed.children, self.service.metadata.uid)

    @cached_property
    def pods(self) -> list[Pod]:
        """Server pods. They are the Deployment's children, so our label tells them, not their owner."""
        found = (Pod(child) for child in self.observed.children if child["kind"] == "Pod")
        return [pod for pod in found if pod.label(names.INFERENCE_SERVICE) == self.service.metadata.name]

    @cached_property
    def deployment(self) -> Json | None:
        return next((child for child in self.children if child["kind"] == "Deployment"), None)

    @cached_property
    def rejected(self) -> tuple[Rejected, ...]:
        """Checkpoints that servers refused, those that do so now among them."""
        known = {item.digest: item for item in self.service.status.rejected}
        for pod in self.pods:
            digest = digest_of(pod)
            if pod.exit_code == exit_codes.BAD_CHECKPOINT and digest and digest not in known:
                why = str(pod.end.get("message") or "the server refused it").strip()[-1024:]
                step = int(pod.label(names.STEP) or 0)
                known[digest] = Rejected(step=step, digest=digest, reason=why, at=pod.ended_at or self.now)
        return tuple(known.values())[-REJECTED_KEPT:]

    @cached_property
    def target(self) -> Served | None:
        """The checkpoint to serve. Where the job or its checkpoints are gone, what was served goes on."""
        known = {item.digest for item in self.rejected}
        found = asked_for(self.service, self.observed, known)
        begun, stable = self.service.status.target, self.service.status.stable
        if found and begun and begun.digest not in known and self._is_starting(begun):
            return begun
        return found or next((item for item in (begun, stable) if item and item.digest not in known), None)

    def _is_starting(self, served: Served) -> bool:
        """Whether servers of a checkpoint that was asked for, and is there still, are about to be ready.

        They are waited for: of checkpoints that come faster than servers start, none would be served otherwise.
        """
        job, status = self.observed.job, self.service.status
        there = job is not None and any(item.digest == served.digest for item in job.status.checkpoints.kept)
        same_spec = status.observed_generation == self.service.metadata.generation
        waiting = there and same_spec and not self.all_ready and not self.given_up
        return waiting and self.asks_for(served) and trouble(self, served) is None

    @property
    def given_up(self) -> bool:
        """Whether the Deployment has waited for its pods for as long as it may (``progressDeadlineSeconds``)."""
        return self.deployment_condition("Progressing").get("status") == "False"

    def deployment_condition(self, type_: str) -> Json:
        """A condition of the Deployment; empty where it has none such."""
        conditions = (self.deployment or {}).get("status", {}).get("conditions", ())
        return next((one for one in conditions if one["type"] == type_), {})

    @cached_property
    def rolled_out(self) -> bool:
        """Whether all servers are those of the target, and ready."""
        return self.target is not None and self.has_rolled_out(self.target)

    def has_rolled_out(self, served: Served) -> bool:
        """Whether all servers are those of a checkpoint, and ready."""
        return self.all_ready and self.asks_for(served)

    @cached_property
    def all_ready(self) -> bool:
        """Whether the Deployment has all its servers, of its newest template, and they are ready."""
        found = self.deployment
        if found is None:
            return False
        status, wanted = found.get("status", {}), self.service.spec.replicas
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
        seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        return seen and counts == [wanted] * 3

    def asks_for(self, served: Served) -> bool:
        """Whether the Deployment is that of a checkpoint."""
        wanted = serving.deployment(self.service, served, self.settings)
        return self.deployment is not None and covers(self.deployment, wanted)

    def ready_pods(self, digest: str | None = None) -> list[Pod]:
        """Pods that answer; of one checkpoint, where ``digest`` is given."""
        return [pod for pod in self.pods if pod.ready and digest in (None, digest_of(pod))]

    @cached_property
    def stable(self) -> Served | None:
        """The checkpoint that answers: during a rollout the earlier one, for as long as any of its servers is ready."""
        before, begun = self.service.status.stable, self.service.status.target
        rolled_out = next((served for served in (self.target, begun) if served and self.has_rolled_out(served)), None)
        answering = (served for served in (before, self.target) if served and self.ready_pods(served.digest))
        current = rolled_out or next(answering, before)
        if current is None:
            return None
        ready = len(self.ready_pods())
        share = round(100 * len(self.ready_pods(current.digest)) / ready) if ready else 0
        return current.model_copy(update={"traffic_percent": share})


def digest_of(pod: Pod) -> str:
    """Digest of the checkpoint that a server pod serves."""
    return str(pod.raw["metadata"].get("annotations", {}).get(names.DIGEST, ""))


def asked_for(service: InferenceService, observed: Observed, rejected: set[str]) -> Served | None:
    """The checkpoint that the spec means now; ``None`` where the job has none such, or it lacks the format."""
    job = observed.job
    if job is None or job.spec.checkpoint is None:
        return None
    found = select(job.status.checkpoints, service.spec.model.training_job.select, rejected)
    chosen = served_format(service.spec.model.format, found.exports) if found else None
    if found is None or chosen is None:
        return None
    claim = job.spec.checkpoint.storage.persistent_volume_claim
    source = service.spec.source or job.spec.source
    return Served(
        step=found.step,
        digest=found.digest,
        training_job=job.metadata.name,
        training_job_uid=job.metadata.uid,
        claim_name=claim.claim_name,
        directory=claim.path,
        source=source.config_map.name if source.config_map and chosen == "checkpoint" else "",
        format=chosen,
        metrics=found.metrics,
    )


def decide_inference(service: InferenceService, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """What to do for ``service`` as observed."""
    if service.metadata.deletion_timestamp:
        return Plan(status=service.status.to_json())
    view = View(service, observed, settings, now)
    wanted = _wanted(view)
    findings = _findings(view, wanted)
    status = _status(view, findings)
    blocked = any(found.reason in BLOCKING for found in findings)
    told = [*events.of_conditions(service.status.conditions, status.conditions), *_rejections(service, status)]
    calm = all(found.status == "True" for found in findings)
    return Plan(
        status=status.to_json(),
        delete=_surplus(view, wanted),
        apply=() if blocked else tuple(_to_apply(view, wanted)),
        events=tuple(told),
        look_again_after=LATER if calm or blocked else SOON,
    )


def _wanted(view: View) -> list[Json]:
    """All children that there should be; servers only once there is something to serve."""
    found = [serving.cluster_service(view.service)]
    if view.target:
        found.append(serving.deployment(view.service, view.target, view.settings))
    if view.service.spec.replicas > 1:
        found.append(serving.disruption_budget(view.service))
    return found


def _to_apply(view: View, wanted: list[Json]) -> list[Json]:
    there = {key(child): child for child in view.children}
    return [child for child in wanted if key(child) not in there or not covers(there[key(child)], child)]


def _surplus(view: View, wanted: list[Json]) -> tuple[Deletion, ...]:
    """Our children that are not wanted. A Deployment stays, whatever became of what it serves."""
    kept = {key(child) for child in wanted}
    gone = (child for child in view.children if key(child) not in kept and child["kind"] == "PodDisruptionBudget")
    return tuple(deletion(child) for child in gone if "deletionTimestamp" not in child["metadata"])


def _findings(view: View, wanted: list[Json]) -> list[Finding]:
    available, current = _available(view), _up_to_date(view, wanted)
    lacking = next((found for found in (available, current) if found.status != "True"), None)
    if lacking is None:
        return [truth("Ready", True, reasons.READY, available.message), available, current]
    return [truth("Ready", False, lacking.reason, lacking.message), available, current]


def _available(view: View) -> Finding:
    ready = len(view.ready_pods())
    if ready:
        return truth("Available", True, reasons.SERVING, f"{ready} pods answer at {serving.url(view.service)}")
    scaled = view.service.spec.replicas == 0
    message = "replicas is 0" if scaled else "no server pod is ready yet"
    return truth("Available", False, reasons.NO_READY_PODS, message)


def _up_to_date(view: View, wanted: list[Json]) -> Finding:
    """Whether what is served is what is asked for; else the plainest reason why not."""
    checks = (_in_the_way(view, wanted), _nothing_to_serve(view), trouble(view, view.target), _replaced(view))
    for found in checks:
        if found:
            return found
    if not view.rolled_out:
        step = view.target.step if view.target else 0
        return truth("UpToDate", False, reasons.ROLLING_OUT, f"servers of step {step} are starting")
    return truth("UpToDate", True, reasons.CURRENT, "what is served is what is asked for")


def _in_the_way(view: View, wanted: list[Json]) -> Finding | None:
    foreign = {key(child) for child in view.observed.children if child not in view.children}
    for kind, name in sorted(foreign & {key(child) for child in wanted}):
        message = f"{kind} {name} belongs to something else; goes on by itself when it is gone"
        return truth("UpToDate", False, reasons.NAME_CONFLICT, message)
    for refusal in view.observed.refusals:
        return truth("UpToDate", False, refusal.reason, refusal.message)
    return missing_finding("UpToDate", view.observed.missing)


def _nothing_to_serve(view: View) -> Finding | None:
    asked = view.service.spec.model.training_job
    going_on = f"; step {view.target.step} is served meanwhile" if view.target else ""
    job = view.observed.job
    if job is None:
        message = f"training job {asked.name} does not exist{going_on}"
        return truth("UpToDate", False, reasons.TRAINING_JOB_NOT_FOUND, message)
    if asked_for(view.service, view.observed, {item.digest for item in view.rejected}):
        return None
    if lacking := select(job.status.checkpoints, asked.select, {item.digest for item in view.rejected}):
        have = ", ".join(["checkpoint", *lacking.exports])
        message = f"step {lacking.step} has no {view.service.spec.model.format} export; it has: {have}{going_on}"
        return truth("UpToDate", False, reasons.FORMAT_NOT_FOUND, message)
    rejected = asked_for(view.service, view.observed, set())
    if rejected:
        message = f"every checkpoint that could be served was rejected, step {rejected.step} among them{going_on}"
        return truth("UpToDate", False, reasons.CHECKPOINT_REJECTED, message)
    if isinstance(asked.select, int) and job.status.checkpoints.latest:
        steps = ", ".join(str(item.step) for item in job.status.checkpoints.kept) or "none"
        message = f"training job {asked.name} has no checkpoint of step {asked.select}; there are: {steps}{going_on}"
        return truth("UpToDate", False, reasons.STEP_NOT_FOUND, message)
    message = f"training job {asked.name} has no checkpoint yet{going_on}"
    return truth("UpToDate", False, reasons.NO_CHECKPOINT, message)


def trouble(view: View, served: Served | None) -> Finding | None:
    """What keeps servers of a checkpoint from starting."""
    for pod in view.pods:
        if served is None or digest_of(pod) != served.digest or pod.ready:
            continue
        if problem := pod.waiting(IMAGE_PROBLEMS):
            return truth("UpToDate", False, reasons.IMAGE_PULL_FAILED, f"pod {pod.name}: {problem}")
        if problem := pod.waiting(CONFIG_PROBLEMS):
            return truth("UpToDate", False, reasons.POD_REFUSED, f"pod {pod.name}: {problem}")
        if pod.unschedulable:
            return truth("UpToDate", False, reasons.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}")
        if pod.exit_code is not None and not pod.terminating:
            said = str(pod.end.get("message") or pod.end.get("reason") or "").strip()[-900:]
            message = f"pod {pod.name} ended with exit code {pod.exit_code}: {said}"
            return truth("UpToDate", False, reasons.SERVER_FAILED, message)
    return _refused_by_quota(view)


def _refused_by_quota(view: View) -> Finding | None:
    condition = view.deployment_condition("ReplicaFailure")
    if condition.get("status") != "True":
        return None
    message = condition.get("message", "")
    reason = reasons.QUOTA_EXCEEDED if "exceeded quota" in message else reasons.POD_REFUSED
    return truth("UpToDate", False, reason, message)


def _replaced(view: View) -> Finding | None:
    """Another checkpoint is served in place of one that was rejected."""
    first = asked_for(view.service, view.observed, set())
    refusal = next((item for item in view.rejected if first and item.digest == first.digest), None)
    if refusal is None or view.target is None:
        return None
    message = f"step {refusal.step} was rejected: {refusal.reason}; step {view.target.step} takes its place"
    return truth("UpToDate", False, reasons.CHECKPOINT_REJECTED, message)


def _status(view: View, findings: list[Finding]) -> InferenceServiceStatus:
    service, stable = view.service, view.stable
    counts = (view.deployment or {}).get("status", {})
    ready = int(counts.get("readyReplicas", 0))
    answers = bool(view.ready_pods())
    return InferenceServiceStatus(
        conditions=updated(service.status.conditions, findings, service.metadata.generation, view.now),
        observed_generation=service.metadata.generation,
        url=serving.url(service),
        replicas=int(counts.get("replicas", 0)),
        ready_replicas=ready,
        stable=stable,
        target=view.target,
        rejected=view.rejected,
        summary=ServiceSummary(
            ready=f"{ready}/{service.spec.replicas}",
            model=f"{stable.training_job} step {stable.step}" if stable and answers else "-",
            traffic=f"{stable.traffic_percent}%" if stable else "0%",
        ),
    )


def _rejections(service: InferenceService, status: InferenceServiceStatus) -> list[Event]:
    known = {item.digest for item in service.status.rejected}
    return [
        Event("Warning", reasons.CHECKPOINT_REJECTED, f"step {item.step} was rejected: {item.reason}")
        for item in status.rejected
        if item.digest not in known
    ]
