"""Carrying out a plan: create, apply and delete children, write the status, post events."""

import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from leyden_operator.api import Json
from leyden_operator.cluster import Cluster, Conflict, Forbidden, Invalid
from leyden_operator.decide import Event, Plan, Refusal
from leyden_operator.decide.children import ONLY_MADE

log = logging.getLogger(__name__)


class Actor:
    """Acts on the children of one resource."""

    def __init__(self, cluster: Cluster, resource: Json, children: list[Json]) -> None:
        self._cluster = cluster
        self._resource = resource
        self._meta = resource["metadata"]
        self._known = {_key(child): child for child in children if self._is_ours(child)}

    @property
    def uid(self) -> str:
        """UID of the resource."""
        return str(self._meta["uid"])

    def would_change(self, status: Json, fields: Iterable[str]) -> bool:
        """Whether a status differs from the present one in any of these fields."""
        present = self._resource.get("status", {})
        return any(status.get(name) != present.get(name) for name in fields)

    async def write_status(self, status: Json) -> bool:
        """Write the status where it differs; whether it did."""
        if status == self._resource.get("status", {}):
            return False
        await self._cluster.put_status(
            {
                "apiVersion": self._resource["apiVersion"],
                "kind": self._resource["kind"],
                "metadata": {name: self._meta[name] for name in ("name", "namespace", "uid")},
                "status": status,
            }
        )
        self._resource = {**self._resource, "status": status}
        return True

    async def delete(self, plan: Plan) -> None:
        for each in plan.delete:
            await self._cluster.delete(each.kind, self._meta["namespace"], each.name, each.uid)

    async def apply(self, plan: Plan) -> tuple[Refusal, ...]:
        """Create or change every object of the plan. What the API server does not take is returned, not raised."""
        refusals = [await self._apply(body) for body in plan.apply]
        return tuple(refusal for refusal in refusals if refusal)

    async def _apply(self, body: Json) -> Refusal | None:
        kind, name = _key(body)
        try:
            if known := self._known.get((kind, name)):
                await self._cluster.apply(_of(body, known["metadata"]["uid"]))
            elif kind == ONLY_MADE:
                await self._create(body)
            else:
                await self._apply_new(body)
        except _NameTaken:
            return Refusal(kind, name, "NameConflict", f"{kind} {name} exists and is not ours; it is left as it is")
        except (Forbidden, Invalid) as error:
            if kind != "Pod":
                raise
            over = isinstance(error, Forbidden) and "exceeded quota" in error.message
            return Refusal(kind, name, "QuotaExceeded" if over else "PodRefused", error.message)
        return None

    async def _create(self, body: Json) -> None:
        try:
            await self._cluster.create(body)
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise
            await self._check_owner(body)

    async def _apply_new(self, body: Json) -> None:
        """Apply an object that was not among our children, unless somebody else's has its name."""
        uid = await self._check_owner(body)
        await self._cluster.apply(_of(body, uid) if uid else body)

    async def _check_owner(self, body: Json) -> str | None:
        """UID of the object that has the name if it is ours; ``None`` where there is none."""
        kind, name = _key(body)
        found = await self._cluster.get(kind, self._meta["namespace"], name)
        if found is None:
            return None
        if not self._is_ours(found):
            raise _NameTaken
        return str(found["metadata"]["uid"])

    def _is_ours(self, child: Json) -> bool:
        owners = child["metadata"].get("ownerReferences", ())
        return any(owner["uid"] == self._meta["uid"] and owner.get("controller") for owner in owners)

    async def post(self, events: tuple[Event, ...]) -> None:
        """Post events for people."""
        for event in events:
            await self._cluster.event(event_body(self._resource, event, datetime.now(UTC)))


class _NameTaken(Exception):
    """Somebody else's object has the name of a child."""


def _key(body: Json) -> tuple[str, str]:
    return body["kind"], body["metadata"]["name"]


def _of(body: Json, uid: str) -> Json:
    """The same object with the UID as a precondition."""
    return {**body, "metadata": {**body["metadata"], "uid": uid}}


def event_body(resource: Json, event: Event, now: datetime) -> Json:
    """A core/v1 Event. What happens again at another time is another event; the same one within a minute is not."""
    meta = resource["metadata"]
    minute = now.strftime("%Y%m%d%H%M")
    told = hashlib.sha256(f"{meta['uid']}{event.reason}{event.message}{minute}".encode()).hexdigest()[:16]
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{told}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            **{name: meta[name] for name in ("name", "namespace", "uid")},
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:1024],
        "source": {"component": "leyden"},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
