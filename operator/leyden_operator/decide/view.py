"""A training job and everything that is known of it, put in order for the decision."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from leyden_contract.wire import Checkpoint, Report
from leyden_operator.api import Json, TrainingJob
from leyden_operator.api.training_status import (
    CheckpointsStatus,
    CheckpointStatus,
    LastFailure,
    ProgressStatus,
    RestartsStatus,
)
from leyden_operator.decide import reasons, restarts
from leyden_operator.decide.children import Pod, owned
from leyden_operator.decide.conditions import holds, reason_of
from leyden_operator.decide.plan import Observed
from leyden_operator.decide.references import origin
from leyden_operator.decide.workers import Workers
from leyden_operator.desired import names
from leyden_operator.desired.training import Origin
from leyden_operator.settings import Settings


@dataclass(frozen=True)
class View:
    """What one decision is about."""

    job: TrainingJob
    observed: Observed
    told: Report | None
    settings: Settings
    now: datetime

    @property
    def attempt(self) -> int:
        return self.job.status.attempt

    @cached_property
    def children(self) -> list[Json]:
        return owned(self.observed.children, self.job.metadata.uid)

    @cached_property
    def foreign(self) -> set[tuple[str, str]]:
        """Kind and name of objects that are in our way: they have our label and another owner."""
        return {
            (child["kind"], child["metadata"]["name"]) for child in self.observed.children if child not in self.children
        }

    @cached_property
    def workers(self) -> Workers:
        pods = [Pod(child) for child in self.children if child["kind"] == "Pod"]
        return Workers(
            self.job, self.attempt, tuple(pod for pod in pods if pod.label(names.ROLE) == "worker"), self.now
        )

    @cached_property
    def coordinator(self) -> Pod | None:
        """The coordinator pod of the present attempt."""
        name = names.coordinator_name(self.job.metadata.name, self.attempt)
        pods = (Pod(child) for child in self.children if child["kind"] == "Pod")
        return next((pod for pod in pods if pod.name == name), None)

    @property
    def coordinator_lost(self) -> bool:
        """It goes with a lost node: its name stays taken, so only a new attempt can have a coordinator."""
        return self.coordinator is not None and self.coordinator.out_of_reach(self.now)

    @cached_property
    def report(self) -> Report | None:
        """What the coordinator tells, if it speaks of the present attempt."""
        right = self.told and self.told.run_id == names.run_id(self.job.metadata.uid, self.attempt)
        return self.told if right else None

    @property
    def ended(self) -> bool:
        """The job succeeded or failed earlier: that stays so."""
        conditions = self.job.status.conditions
        return holds(conditions, "Succeeded") or holds(conditions, "Failed")

    @property
    def was_suspended(self) -> bool:
        return reason_of(self.job.status.conditions, "Suspended") == reasons.SUSPENDED

    @cached_property
    def restarts(self) -> RestartsStatus:
        return restarts.counted(self.job, self.report, self.coordinator.uid if self.coordinator else "", self.now)

    @cached_property
    def last_failure(self) -> LastFailure | None:
        return restarts.last_failure(self.job, self.report, self.workers.present)

    @cached_property
    def origin(self) -> Origin | None:
        return origin(self.job, self.observed.job)

    @cached_property
    def progress(self) -> ProgressStatus | None:
        told = self.report.progress if self.report else None
        return ProgressStatus.model_validate(told.model_dump()) if told else self.job.status.progress

    @cached_property
    def checkpoints(self) -> CheckpointsStatus:
        """Committed checkpoints. A new coordinator knows none until ranks tell it: then the known ones stay."""
        told = self.report.checkpoints if self.report else None
        if told is None or told.latest is None:
            return self.job.status.checkpoints
        return CheckpointsStatus(
            latest=_checkpoint(told.latest),
            best=_checkpoint(told.best) if told.best else None,
            kept=tuple(_checkpoint(item) for item in told.kept),
            skipped=tuple(why[:1024] for why in told.skipped[:16]),
        )


def _checkpoint(told: Checkpoint) -> CheckpointStatus:
    return CheckpointStatus.model_validate({**told.model_dump(exclude={"directory"}), "path": told.directory})
