"""Kinds that the operator uses, and their paths in the API. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A namespaced kind."""

    api_version: str
    name: str
    plural: str

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of a collection (all namespaces where none is given), an object, or its subresource."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = [root, *([f"namespaces/{namespace}"] if namespace else []), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("leyden.dev/v1alpha1", "TrainingJob", "trainingjobs"),
        Kind("leyden.dev/v1alpha1", "InferenceService", "inferenceservices"),
        Kind("v1", "Pod", "pods"),
        Kind("v1", "Service", "services"),
        Kind("v1", "ConfigMap", "configmaps"),
        Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Kind("v1", "Event", "events"),
        Kind("apps/v1", "Deployment", "deployments"),
        Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Kind("scheduling.k8s.io/v1beta1", "PodGroup", "podgroups"),
    )
}
