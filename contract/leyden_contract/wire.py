"""Messages between the coordinator, the agents of a training job and the operator.

JSON over HTTP, each request carrying ``Authorization: Bearer <token>``. The coordinator is the authority on who is a
member; see ``docs/adr/0002-membership-authority.md``.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from leyden_contract.manifest import ExportFormat

PORT = 8476
"""TCP port of the coordinator."""

LAST_CALL_SECONDS = 3.0
"""How long a round waits for more than the minimum once the minimum is there."""

JOIN_POLL_SECONDS = 25.0
"""Longest time that a join request is held before it is answered 204, which means: ask again."""

HEARTBEAT_SECONDS = 1.0


class Message(BaseModel):
    """A value. Unknown fields are ignored: who speaks may be of a newer release than who listens.

    An upgrade of the operator leaves the pods of running jobs alone, and a job may have an image of its own.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


class Cause(StrEnum):
    """Why training restarted. Only ``Failure`` uses up the budget."""

    FAILURE = "Failure"
    PREEMPTION = "Preemption"
    NODE_LOST = "NodeLost"
    RESIZE = "Resize"


class Notice(StrEnum):
    """What an agent is told to do with its ranks."""

    NONE = "none"
    REFORM = "reform"
    """Commit a checkpoint, stop, and join the next round."""
    STOP = "stop"
    """Commit a checkpoint, stop, and exit: this pod is going away."""
    ABORT = "abort"
    """The round is broken (a member died): end the ranks without waiting for them and join the next round."""


class JoinRequest(Message):
    """An agent that is ready to train, with where its ranks can be reached."""

    pod: str
    pod_uid: str
    node: str = ""
    index: int = Field(ge=0)
    address: str
    local_world_size: int = Field(ge=1)


class RoundAssignment(Message):
    """An agent's place in a round."""

    round: int = Field(ge=0)
    node_rank: int
    nodes: int
    rank_offset: int
    world_size: int
    master_address: str
    master_port: int
    budget_left: int


class Gone(Message):
    """Body of a 410: there is no round for this pod to join, and it should end."""

    reason: Literal["finished", "failed", "suspended", "replaced"]


class Heartbeat(Message):
    """Sent each second while the ranks live. ``steps`` are the steps of this pod's ranks, by local rank."""

    pod_uid: str
    round: int
    steps: tuple[int, ...] = ()
    leaving: bool = Field(default=False, description="the pod was told to end: its ranks commit a checkpoint and stop")


class HeartbeatReply(Message):
    notice: Notice
    round: int
    served: tuple[str, ...] | None = Field(default=None, description="as in ``Membership``")


class Progress(Message):
    """How far training is, as rank 0 tells it at most once a second."""

    epoch: int = 0
    step: int = 0
    total_steps: int | None = None
    percent: float | None = None
    remaining_seconds: float | None = None
    samples_per_second: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    reported_at: datetime


class Checkpoint(Message):
    """A committed checkpoint."""

    step: int
    epoch: int = 0
    directory: str = Field(description="the checkpoint's own directory, relative to the job's checkpoint directory")
    digest: str
    metrics: dict[str, float] = Field(default_factory=dict)
    exports: tuple[ExportFormat, ...] = Field(default=(), description="formats that can be served without code")


class Checkpoints(Message):
    """The newest and the best committed checkpoint, and what was refused while looking for one to resume from."""

    latest: Checkpoint | None = None
    best: Checkpoint | None = None
    kept: tuple[Checkpoint, ...] = Field(default=(), max_length=32, description="all that are on disk, newest first")
    skipped: tuple[str, ...] = Field(default=(), description="why a newer one was not resumed from, or not written")


class Event(Message):
    """A line of ``events.jsonl`` (rank 0 to its agent): how far training is, or what is on disk after a change."""

    progress: Progress | None = None
    checkpoints: Checkpoints | None = None


class Events(Event):
    """What an agent forwards from its ``events.jsonl``: the newest of each."""

    pod_uid: str
    round: int


class Failure(Message):
    """How a rank ended that should not have."""

    pod: str
    pod_uid: str
    node: str = ""
    round: int
    rank: int
    local_rank: int = 0
    exit_code: int | None = None
    signal: str | None = None
    reason: str = Field(max_length=64, description="CamelCase: the exception's type, OOMKilled, Killed, ExitCode")
    message: str = Field(default="", max_length=1024, description="the last line of the traceback")
    at: datetime
    retryable: bool = True


def in_one_line(reason: str, message: str) -> str:
    """A failure for people: the reason only once where the message begins with it, as an exception's does."""
    return message if message.startswith(reason) else f"{reason}: {message}".rstrip(": ")


class Outcome(StrEnum):
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class Leave(Message):
    """An agent's last word."""

    pod_uid: str
    round: int
    outcome: Outcome


class Departure(Message):
    """A pod that is gone or going, and why, as the operator saw it."""

    pod_uid: str
    cause: Cause


class Membership(Message):
    """What the operator knows about the job's pods, and who uses its checkpoints.

    Idempotent: the whole truth each time, never a difference.
    """

    min: int = Field(ge=1)
    max: int = Field(ge=1)
    expected: tuple[str, ...] = Field(default=(), description="UIDs of the worker pods that run or will run")
    draining: tuple[Departure, ...] = ()
    lost: tuple[Departure, ...] = ()
    suspend: bool = False
    served: tuple[str, ...] | None = Field(
        default=None, description="digests of checkpoints that services use; ``None``: not known (yet)"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Membership":
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be above max ({self.max})")
        return self


class RunPhase(StrEnum):
    FORMING = "forming"
    TRAINING = "training"
    SUSPENDED = "suspended"
    FINISHED = "finished"
    FAILED = "failed"


class Booking(Message):
    """One restart in the ledger; ``key`` makes it countable once."""

    key: str
    cause: Cause
    at: datetime
    reason: str = ""


class Report(Message):
    """Everything the operator reads from the coordinator."""

    run_id: str
    round: int
    phase: RunPhase
    nodes: int = Field(description="members of the running round; 0 while forming")
    progress: Progress | None = None
    checkpoints: Checkpoints = Checkpoints()
    first_failure: Failure | None = Field(default=None, description="the first failure of the newest broken round")
    ledger: tuple[Booking, ...] = ()
    hung_ranks: tuple[int, ...] = ()
