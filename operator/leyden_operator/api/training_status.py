"""TrainingJob: what the operator reports."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from leyden_contract.manifest import ExportFormat
from leyden_operator.api.base import Conditions, Measure, Metrics, Model, Text, Word

Phase = Literal["Pending", "Starting", "Running", "Restarting", "Suspended", "Succeeded", "Failed"]
Digest = Annotated[str, Field(max_length=71, description="`sha256:` and the hash of the manifest")]
Count = Annotated[int, Field(ge=0)]


class NodesStatus(Model):
    """Worker pods."""

    desired: Count = Field(default=0, description="how many there should be")
    ready: Count = Field(default=0, description="how many train")


class ProgressStatus(Model):
    """How far training is."""

    epoch: Count = Field(default=0, description="epoch that runs, from 0")
    step: Count = Field(default=0, description="optimizer steps done")
    total_steps: int | None = Field(default=None, description="optimizer steps in all, where known")
    percent: Measure = Field(default=None, description="share that is done")
    remaining_seconds: Measure = Field(default=None, description="estimate of the time left")
    samples_per_second: Measure = Field(default=None, description="over all nodes")
    metrics: Metrics = Field(default_factory=dict, description="newest logged metrics")
    reported_at: datetime | None = Field(default=None, description="when training said so")


class CauseCounts(Model):
    """Restarts by cause."""

    model_config = ConfigDict(alias_generator=None)
    Failure: Count = Field(default=0, description="the user's code failed")
    Preemption: Count = Field(default=0, description="a pod was evicted or deleted")
    NodeLost: Count = Field(default=0, description="a node went away")
    Resize: Count = Field(default=0, description="the number of nodes changed")


class LedgerCursor(Model):
    """How far the restarts of a coordinator are counted, so that each counts once."""

    coordinator: Word = Field(default="", description="UID of the coordinator pod")
    entries: Count = Field(default=0, description="entries of its ledger that are counted")


class RestartsStatus(Model):
    """How often training was restarted. Only failures within the window count against `spec.restarts.max`."""

    counted: Count = Field(default=0, description="failures within the window")
    by_cause: CauseCounts = Field(default_factory=CauseCounts, description="all restarts, by cause")
    last_reason: Word | None = Field(default=None, description="why the newest one happened")
    recent: tuple[datetime, ...] = Field(default=(), max_length=128, description="times of the failures in the window")
    ledger: LedgerCursor = Field(default_factory=LedgerCursor, description="the operator's bookkeeping")


class LastFailure(Model):
    """The first failure of the newest broken round: the cause, not its echoes."""

    pod: Annotated[str, Field(max_length=253)] = Field(default="", description="pod that failed first")
    node: Annotated[str, Field(max_length=253)] = Field(default="", description="node it ran on")
    rank: int | None = Field(default=None, description="rank that failed; unset: the pod as a whole")
    exit_code: int | None = Field(default=None, description="exit code")
    signal: Word | None = Field(default=None, description="signal that ended it")
    reason: Word = Field(description="the exception's type, OOMKilled, ...")
    message: Text = Field(default="", description="last line of the traceback")
    at: datetime = Field(description="when")


class CheckpointStatus(Model):
    """A committed checkpoint."""

    step: Count = Field(description="optimizer steps done")
    epoch: Count = Field(default=0, description="epoch it was taken in")
    path: Annotated[str, Field(max_length=253)] = Field(description="directory, relative to the job's own")
    digest: Digest
    metrics: Metrics = Field(default_factory=dict, description="metrics when it was taken")
    exports: tuple[ExportFormat, ...] = Field(
        default=(), max_length=3, description="formats in which it can be served without code"
    )


class CheckpointsStatus(Model):
    """Committed checkpoints."""

    latest: CheckpointStatus | None = Field(default=None, description="the newest")
    best: CheckpointStatus | None = Field(default=None, description="the best by the monitored metric")
    kept: tuple[CheckpointStatus, ...] = Field(default=(), max_length=32, description="all on disk, newest first")
    skipped: tuple[Text, ...] = Field(default=(), max_length=16, description="why newer ones were not resumed from")


class TrainingSummary(Model):
    """What `kubectl get` shows; for people only."""

    nodes: Word = Field(default="-", description="training and desired worker pods")
    progress: Word = Field(default="-", description="percent, or steps where the total is not known")
    eta: Word = Field(default="-", description="estimate of the time left")
    metric: Annotated[str, Field(max_length=160)] = Field(default="-", description="best value of the monitored metric")


class TrainingJobStatus(Model):
    """What was observed, by the operator alone."""

    conditions: Conditions = Field(default=(), description="Accepted Scheduled Running Suspended Succeeded Failed")
    observed_generation: Count = Field(default=0, description="generation of the spec that this status is about")
    phase: Phase = Field(default="Pending", description="for people; programs read conditions")
    attempt: Count = Field(default=0, description="times that all pods were made anew")
    start_time: datetime | None = Field(default=None, description="when pods were first made")
    completion_time: datetime | None = Field(default=None, description="when it succeeded or failed")
    nodes: NodesStatus = Field(default_factory=NodesStatus, description="worker pods")
    progress: ProgressStatus | None = Field(default=None, description="how far training is")
    restarts: RestartsStatus = Field(default_factory=RestartsStatus, description="restarts and their causes")
    last_failure: LastFailure | None = Field(default=None, description="why training last broke by its own fault")
    checkpoints: CheckpointsStatus = Field(default_factory=CheckpointsStatus, description="committed checkpoints")
    summary: TrainingSummary = Field(default_factory=TrainingSummary, description="what `kubectl get` shows")
