"""Reading everything that a decision needs."""

import time

from pydantic import ValidationError

from leyden_operator.api import InferenceService, Json, TrainingJob
from leyden_operator.cluster import Cluster
from leyden_operator.decide import Observed, Reference, references
from leyden_operator.desired import names

CHILD_KINDS = {
    "TrainingJob": ("Pod", "Service", "NetworkPolicy", "PodGroup"),
    "InferenceService": ("Pod", "Deployment", "Service", "PodDisruptionBudget"),
}
CAPABILITY_SECONDS = 600.0
"""How long the answer to "does the API server have PodGroups" is good for."""


class Observer:
    """Looks at the cluster on behalf of a reconciliation."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pod_groups: tuple[float, bool] | None = None

    async def children(self, kind: str, namespace: str, name: str) -> list[Json]:
        """Objects with the resource's label, whoever owns them."""
        selector = f"{names.OWNER_LABELS[kind]}={name}"
        found: list[Json] = []
        for child_kind in CHILD_KINDS[kind]:
            if child_kind != "PodGroup" or await self.has_pod_groups():
                found += await self._cluster.list(child_kind, namespace, selector)
        return found

    async def observed(self, resource: TrainingJob | InferenceService, children: list[Json]) -> Observed:
        """Everything but the coordinator's report."""
        namespace = resource.metadata.namespace
        missing, job = set(), None
        for reference in references(resource):
            found = await self._cluster.get(reference.kind, namespace, reference.name)
            if found is None:
                missing.add(reference)
            elif reference.kind == "TrainingJob":
                job = _job(found)
        services: list[Json] = []
        if isinstance(resource, TrainingJob) and resource.spec.checkpoint:
            services = await self._cluster.list("InferenceService", namespace)
        return Observed(
            children=tuple(children),
            missing=frozenset[Reference](missing),
            job=job,
            services=tuple(services),
            pod_groups=await self.has_pod_groups(),
        )

    async def has_pod_groups(self) -> bool:
        """Whether the API server has Kubernetes' own PodGroup."""
        now = time.monotonic()
        if self._pod_groups is None or now - self._pod_groups[0] > CAPABILITY_SECONDS:
            self._pod_groups = now, await self._cluster.serves("PodGroup")
        return self._pod_groups[1]


def _job(raw: Json) -> TrainingJob | None:
    """A job that is referred to. One whose spec is not valid has no checkpoints either."""
    try:
        return TrainingJob.model_validate(raw)
    except ValidationError:
        return None
