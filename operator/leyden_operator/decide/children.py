"""Reading children: which are ours, whether they are as desired, and what state a pod is in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from leyden_contract import exit_codes
from leyden_contract.wire import Cause
from leyden_operator.api import Json
from leyden_operator.decide.plan import Deletion
from leyden_operator.decide.quantity import same
from leyden_operator.desired import names

NODE_LOST_REASONS = ("DeletionByTaintManager", "DeletionByPodGC", "NodeLost")
IMAGE_PROBLEMS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
CONFIG_PROBLEMS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
QUANTITIES = ("requests", "limits", "sizeLimit")
"""Fields that hold amounts."""

ONLY_MADE = "Pod"
"""The kind that is never changed after it was made."""

STUCK = timedelta(seconds=10)
"""A pod that is still there so long after its grace period is on a node that does not answer."""

CANNOT_START = ("StartError", "ContainerCannotRun")


def owned(children: Iterable[Json], uid: str) -> list[Json]:
    """Children whose controller is ours."""
    return [
        child
        for child in children
        if any(
            owner["uid"] == uid and owner.get("controller") for owner in child["metadata"].get("ownerReferences", ())
        )
    ]


def key(child: Json) -> tuple[str, str]:
    return child["kind"], child["metadata"]["name"]


def deletion(child: Json) -> Deletion:
    meta = child["metadata"]
    return Deletion(child["apiVersion"], child["kind"], meta["name"], meta["uid"])


def covers(seen: Any, desired: Any, field: str = "") -> bool:
    """Whether everything that is desired is seen; what the API server added does not matter.

    ``field``: name under which the values stand. Empty parts need not be seen, and amounts may be written otherwise.
    """
    if isinstance(desired, dict):
        inner = field if field in QUANTITIES else ""
        return isinstance(seen, dict) and all(
            covers(seen.get(name), value, inner or name) or (value in ({}, []) and name not in seen)
            for name, value in desired.items()
        )
    if isinstance(desired, list):
        alike = isinstance(seen, list) and len(seen) == len(desired)
        return alike and all(covers(left, right) for left, right in zip(seen, desired, strict=True))
    return same(seen, desired) if field in QUANTITIES else bool(seen == desired)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True)
class Pod:
    """A pod as the API server has it."""

    raw: Json

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    def label(self, name: str) -> str:
        return str(self.raw["metadata"].get("labels", {}).get(name, ""))

    @property
    def attempt(self) -> int:
        return int(self.label(names.ATTEMPT) or 0)

    @property
    def index(self) -> int:
        return int(self.label(names.NODE_INDEX) or 0)

    @property
    def created(self) -> str:
        return str(self.raw["metadata"].get("creationTimestamp", ""))

    @cached_property
    def status(self) -> Json:
        return dict(self.raw.get("status", {}))

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", "Pending"))

    @property
    def terminating(self) -> bool:
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def live(self) -> bool:
        """It runs or will run."""
        return not self.ended and not self.terminating

    @property
    def node(self) -> str:
        return str(self.raw.get("spec", {}).get("nodeName", ""))

    def condition(self, type: str) -> Json:
        return next((dict(found) for found in self.status.get("conditions", ()) if found["type"] == type), {})

    @property
    def ready(self) -> bool:
        return not self.terminating and self.ready_condition

    @property
    def ready_condition(self) -> bool:
        """The condition as it stands. The node's controller withdraws it from pods of a node that is silent."""
        return bool(self.condition("Ready").get("status") == "True")

    def out_of_reach(self, now: datetime) -> bool:
        """It was told to go, but its node does not answer: it stays listed, and may run, until the node is back."""
        if self.ended or not self.terminating:
            return False
        # A kubelet that is there reports the end of a container and that the pod is not ready at the same time.
        unheard = not self.ready_condition and bool(self._containers("running"))
        late = now > datetime.fromisoformat(self.raw["metadata"]["deletionTimestamp"]) + STUCK
        return late or (unheard and self.cause is Cause.NODE_LOST)

    @property
    def unschedulable(self) -> str:
        """Why no node takes it; empty where that is not so."""
        found = self.condition("PodScheduled")
        return str(found.get("message", "")) if found.get("reason") == "Unschedulable" else ""

    def waiting(self, reasons: tuple[str, ...]) -> str:
        """Why its container waits, if that is for one of ``reasons``; else empty."""
        for found in self._containers("waiting"):
            if found.get("reason") in reasons:
                return f"{found['reason']}: {found.get('message', '')}"
        return ""

    def _containers(self, state: str, field: str = "state") -> list[Json]:
        parts = (part.get(field, {}).get(state) for part in self.status.get("containerStatuses", ()))
        return [part for part in parts if part]

    @property
    def end(self) -> Json:
        """How its container ended, now or before it was last restarted; empty where it never did."""
        ends = self._containers("terminated") or self._containers("terminated", "lastState")
        return ends[0] if ends else {}

    @property
    def exit_code(self) -> int | None:
        return self.end.get("exitCode")

    @property
    def ended_at(self) -> datetime | None:
        return _time(self.end.get("finishedAt"))

    @property
    def disruption(self) -> str:
        """Reason for which Kubernetes took the pod away; empty where it did not."""
        return str(self.condition("DisruptionTarget").get("reason", "") or self.status.get("reason", ""))

    @property
    def cause(self) -> Cause | None:
        """Why it is gone or going; ``None`` while it runs, and where it ended well."""
        if self.live or self.phase == "Succeeded":
            return None
        if self.disruption in NODE_LOST_REASONS:
            return Cause.NODE_LOST
        if self.terminating or self.disruption or self.exit_code in (exit_codes.STOPPED, None):
            return Cause.PREEMPTION
        return Cause.FAILURE
