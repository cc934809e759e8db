"""kopf's watches. They only put keys into the queue.

Only ``on.event`` is used: such handlers leave neither a finalizer nor an annotation on objects, so that deletion works
while the operator is down (docs/adr/0001-watching-with-kopf.md).
"""

from collections import defaultdict
from typing import Any

import kopf

from leyden_operator import metrics
from leyden_operator.api import GROUP, VERSION, Json
from leyden_operator.controllers.queue import Key, KeyQueue
from leyden_operator.desired import names

RESOURCES = {"trainingjobs": "TrainingJob", "inferenceservices": "InferenceService"}
OWNED = {names.MANAGED_BY: names.MANAGER}


class Watches:
    """Turns events into keys, and remembers which services follow which jobs."""

    def __init__(self, queue: KeyQueue) -> None:
        self._queue = queue
        self._followers: dict[tuple[str, str], set[Key]] = defaultdict(set)
        self.seen: set[str] = set()
        """UIDs of resources that came through a watch."""

    def registry(self) -> kopf.OperatorRegistry:
        """Handlers for both kinds and for their children."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(login)
        for plural in RESOURCES:
            kopf.on.event(GROUP, VERSION, plural, registry=registry)(self.resource_changed)
        kopf.on.event("", "v1", "pods", registry=registry, labels=OWNED)(self.child_changed)
        kopf.on.event("apps", "v1", "deployments", registry=registry, labels=OWNED)(self.child_changed)
        return registry

    async def resource_changed(self, event: Any, body: Any, **_: Any) -> None:
        """One of our resources was made, changed or deleted."""
        meta, kind = body["metadata"], body["kind"]
        metrics.watch_events.labels(kind).inc()
        key = Key(kind, meta["namespace"], meta["name"])
        if kind == "TrainingJob":
            for follower in self._followers.get((key.namespace, key.name), ()):
                self._queue.add(follower)
        else:
            # The job keeps the checkpoints that services use, so it has to learn of what they have chosen.
            for job in followed(dict(body)):
                self._queue.add(Key("TrainingJob", key.namespace, job))
        if event["type"] == "DELETED":
            self.seen.discard(meta["uid"])
            self._unfollow(key)
            self._queue.forget(key)
            return
        self.seen.add(meta["uid"])
        self._follow(key, dict(body))
        self._queue.add(key)

    async def child_changed(self, body: Any, **_: Any) -> None:
        """A pod or a Deployment of ours changed."""
        meta = body["metadata"]
        metrics.watch_events.labels(body["kind"]).inc()
        for kind, label in names.OWNER_LABELS.items():
            if name := meta.get("labels", {}).get(label):
                self._queue.add(Key(kind, meta["namespace"], name))

    def _follow(self, key: Key, body: Json) -> None:
        self._unfollow(key)
        for job in followed(body):
            self._followers[key.namespace, job].add(key)

    def _unfollow(self, key: Key) -> None:
        for job, followers in list(self._followers.items()):
            followers.discard(key)
            if not followers:
                del self._followers[job]


def followed(body: Json) -> list[str]:
    """Names of the training jobs that a resource takes checkpoints from. Tolerates any spec."""
    spec = body.get("spec") or {}
    paths = (("model", "trainingJob", "name"), ("checkpoint", "resume", "trainingJob"))
    found = []
    for path in paths:
        value: Any = spec
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str):
            found.append(value)
    return found


async def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or ``KUBECONFIG`` outside of one."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


def settings() -> kopf.OperatorSettings:
    """kopf without peering, without scanning, without posting of its own."""
    found = kopf.OperatorSettings()
    found.scanning.disabled = True
    found.peering.standalone = True
    found.posting.enabled = False
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330
    found.watching.reconnect_backoff = 1
    return found
