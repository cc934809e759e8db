"""What decisions are made from, and what they result in. Values; nothing here does anything."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from leyden_contract.wire import Membership
from leyden_operator.api import Json, TrainingJob


@dataclass(frozen=True)
class Reference:
    """An object of the same namespace that a spec names."""

    kind: Literal["ConfigMap", "PersistentVolumeClaim", "TrainingJob"]
    name: str


@dataclass(frozen=True)
class Refusal:
    """An object that the API server did not take when the last plan was applied."""

    kind: str
    name: str
    reason: Literal["NameConflict", "QuotaExceeded", "PodRefused"]
    """``NameConflict``: the name is held by an object that is not owned by our resource."""
    message: str


@dataclass(frozen=True)
class Observed:
    """The cluster as far as one resource is concerned."""

    children: tuple[Json, ...] = ()
    """Objects with the resource's label, whoever owns them, each with ``apiVersion`` and ``kind``."""
    missing: frozenset[Reference] = frozenset()
    """Those of the spec's references that do not exist."""
    job: TrainingJob | None = None
    """The training job that is referred to: whose checkpoint is served, or resumed from."""
    services: tuple[Json, ...] = ()
    """For a training job with checkpoints: the inference services of its namespace."""
    pod_groups: bool = False
    """Whether the API server has Kubernetes' own PodGroup."""
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Deletion:
    """An object to delete; the UID is a precondition."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Event:
    """A line for people, posted when the status has changed."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: write the status where it differs, tell the coordinator, delete, apply, post events.

    An error ends the plan: nothing is deleted unless the coordinator was told why. Objects that were refused are put
    into ``Observed.refusals`` of a second decision, of which only status and events are used.
    """

    status: Json
    membership: Membership | None = None
    delete: tuple[Deletion, ...] = ()
    apply: tuple[Json, ...] = ()
    events: tuple[Event, ...] = ()
    look_again_after: timedelta | None = field(default=None)
