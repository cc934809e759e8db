"""A model of a cluster: takes plans, and moves its pods the way a kubelet and a coordinator would."""

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from leyden_contract.wire import (
    Booking,
    Cause,
    Checkpoint,
    Checkpoints,
    Failure,
    Membership,
    Progress,
    Report,
    RunPhase,
)
from leyden_operator.api import Json, TrainingJob
from leyden_operator.decide import Observed, Plan, decide_training
from leyden_operator.decide.conditions import reason_of
from leyden_operator.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings()


def training_job(status: Json | None = None, **spec: Any) -> TrainingJob:
    """A job named ``digits`` on 2 to 3 nodes."""
    given = {"run": {"module": {"model": "digits:LitDigits"}}, "nodes": {"min": 2, "max": 3}, **spec}
    return TrainingJob.model_validate(
        {
            "metadata": {"name": "digits", "namespace": "ml", "uid": "job-uid", "creationTimestamp": START.isoformat()},
            "spec": given,
            "status": status or {},
        }
    )


def report(phase: RunPhase = RunPhase.TRAINING, nodes: int = 3, attempt: int = 0, **more: Any) -> Report:
    return Report(run_id=f"job-uid-{attempt}", round=0, phase=phase, nodes=nodes, **more)


def checkpoint(step: int, **metrics: float) -> Checkpoint:
    return Checkpoint(step=step, directory=f"step-{step:012d}", digest=f"sha256:{step:064d}", metrics=metrics)


def checkpoints(*steps: int) -> Checkpoints:
    kept = tuple(checkpoint(step) for step in steps)
    return Checkpoints(latest=kept[0], best=kept[0], kept=kept)


def progress(step: int) -> Progress:
    return Progress(step=step, total_steps=100, percent=float(step), remaining_seconds=65.0, reported_at=START)


@dataclass
class Cluster:
    """One job and its children."""

    job: TrainingJob
    now: datetime = START
    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    told: Membership | None = None
    coordinator: Report | None = None
    made: int = 0
    status_writes: int = 0
    observed: dict[str, Any] = field(default_factory=dict)

    def look(self) -> Plan:
        """Decide once and carry the plan out. A pod that is deleted is gone at once."""
        seen = Observed(children=tuple(deepcopy(list(self.objects.values()))), **self.observed)
        plan = decide_training(self.job, seen, self.coordinator, SETTINGS, self.now)
        if plan.status != self.job.status.to_json():
            self.status_writes += 1
        whole = {**self.job.model_dump(by_alias=True), "status": plan.status}
        self.job = TrainingJob.model_validate(whole)
        self.told = plan.membership or self.told
        for gone in plan.delete:
            held = self.objects[(gone.kind, gone.name)]
            assert held["metadata"]["uid"] == gone.uid, "the UID is a precondition"
            del self.objects[(gone.kind, gone.name)]
        for child in plan.apply:
            self._apply(child)
        return plan

    def _apply(self, child: Json) -> None:
        self.made += 1
        child = deepcopy(child)
        child["metadata"].update(uid=f"uid-{self.made}", creationTimestamp=self.now.isoformat())
        if child["kind"] == "Pod":
            child["status"] = {"phase": "Pending"}
        self.objects[(child["kind"], child["metadata"]["name"])] = child

    def settle(self, looks: int = 8) -> Plan:
        """Look until nothing changes any more."""
        for _ in range(looks):
            self.run_pods()
            self.now += timedelta(seconds=3)
            plan = self.look()
        return plan

    def pods(self, part: str = "worker") -> list[str]:
        return sorted(name for kind, name in self.objects if kind == "Pod" and part in name)

    def pod(self, name: str) -> Json:
        return self.objects[("Pod", name)]

    def run_pods(self) -> None:
        """Every pending pod gets a node and becomes ready."""
        for (kind, _), child in self.objects.items():
            if kind == "Pod" and child["status"]["phase"] == "Pending" and not child["status"].get("held"):
                child["spec"]["nodeName"] = "node-1"
                ready = {"type": "Ready", "status": "True"}
                child["status"] = {"phase": "Running", "conditions": [ready]}

    def end(self, name: str, exit_code: int, why: str = "Error", /, **status: Any) -> None:
        """A worker's container ended."""
        ended = {"exitCode": exit_code, "reason": why, "finishedAt": self.now.isoformat()}
        child = self.pod(name)
        child["status"] = {
            "phase": "Failed" if exit_code else "Succeeded",
            "containerStatuses": [{"state": {"terminated": ended}}],
            **status,
        }


def running(**spec: Any) -> Cluster:
    """A cluster in which the job trains on three nodes."""
    cluster = Cluster(training_job(**spec))
    cluster.look()
    cluster.coordinator = report()
    cluster.settle(2)
    return cluster


def reason(job: TrainingJob, condition: str) -> str:
    return reason_of(job.status.conditions, condition)


def failure(retryable: bool = True, message: str = "boom") -> Failure:
    return Failure(
        pod="digits-0-worker-1", pod_uid="u", round=0, rank=1, exit_code=1, reason="ValueError", message=message,
        at=START, retryable=retryable,
    )  # fmt: skip


def booked(cause: Cause, key: str, at: datetime = START) -> Booking:
    return Booking(key=key, cause=cause, at=at, reason="why")
