"""Everything that the coordinator knows. It is a value: saved as JSON, loaded again after a container restart.

What changes with every heartbeat is not saved: :func:`leyden_coordinator.rounds.wake` makes up for it.

The other modules are functions ``(state, message, now) -> answer`` that change the state and do nothing else: no clock,
no network, no file, so that any history can be replayed in a test.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, Field

from leyden_contract.wire import (
    Booking,
    Checkpoints,
    Failure,
    JoinRequest,
    Membership,
    Notice,
    Progress,
)

NEVER = datetime.min.replace(tzinfo=UTC)

SILENT = timedelta(seconds=10)
"""An agent that was not heard for so long is taken for lost. Ten heartbeats."""

UNEXPLAINED = timedelta(seconds=10)
"""How long a pod that left on its own waits for the operator to say why, before it is booked as a preemption."""

STRANGER = timedelta(seconds=30)
"""How long an agent that the operator did not name may wait. The pod can be faster than the operator's word of it."""

FIRST_CALL = timedelta(seconds=15)
"""The first round waits so long for expected pods: they start at once, and growing later would cost a checkpoint."""


class Outcome(StrEnum):
    """How the run ended."""

    FINISHED = "finished"
    FAILED = "failed"


class Joiner(BaseModel):
    """An agent that waits for a round."""

    request: JoinRequest
    since: datetime
    seen: datetime = Field(default=NEVER, exclude=True)


class Member(BaseModel):
    """An agent of the newest round."""

    request: JoinRequest
    rank_offset: int
    seen: datetime = Field(default=NEVER, exclude=True)
    started: bool = Field(default=False, description="it was heard in this round, so it knows its assignment")
    finished: bool = False
    leaving: bool = False
    steps: tuple[int, ...] = Field(default=(), exclude=True)


class Pace(BaseModel):
    """How fast the newest round steps, as far as its heartbeats tell."""

    step: int = 0
    changed: datetime | None = None
    seconds_per_step: list[float] = Field(default_factory=list, description="newest last, a few dozen at most")


class State(BaseModel):
    """One run (an attempt of a job)."""

    run_id: str
    budget: int
    membership: Membership
    round: int = -1
    nodes: int = Field(default=0, description="members that the newest round was formed with")
    members: dict[str, Member] = Field(default_factory=dict, description="of the newest round, by pod UID")
    waiting: dict[str, Joiner] = Field(default_factory=dict, description="for the next round, by pod UID")
    notice: Notice = Field(default=Notice.REFORM, description="what the newest round is told; NONE: it trains")
    formed_with_max: int = 0
    pending: list[Failure] = Field(default_factory=list, description="of the broken round, not yet booked")
    unexplained: dict[str, datetime] = Field(default_factory=dict, description="pods that left on their own, since")
    strangers: dict[str, datetime] = Field(default_factory=dict)
    pace: Pace = Field(default_factory=Pace, exclude=True)
    ledger: list[Booking] = Field(default_factory=list)
    first_failure: Failure | None = None
    hung_ranks: tuple[int, ...] = ()
    progress: Progress | None = None
    checkpoints: Checkpoints = Checkpoints()
    outcome: Outcome | None = None
    awake: datetime | None = Field(default=None, exclude=True, description="when time last advanced")

    @property
    def training(self) -> bool:
        """Whether the newest round runs undisturbed."""
        return bool(self.members) and self.notice is Notice.NONE

    def departing(self) -> set[str]:
        """UIDs of pods that the operator called lost or draining."""
        return {gone.pod_uid for gone in (*self.membership.draining, *self.membership.lost)}

    def wanted(self) -> set[str]:
        """UIDs of pods that will take part as far as the operator said."""
        return set(self.membership.expected) - self.departing()


def new(run_id: str, nodes_min: int, nodes_max: int, budget: int) -> State:
    """The state before anyone joined."""
    return State(run_id=run_id, budget=budget, membership=Membership(min=nodes_min, max=nodes_max))
