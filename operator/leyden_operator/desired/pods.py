"""Parts of pods: the restricted security that all have, and what users may say about theirs."""

from typing import Any

from leyden_operator.api import Json
from leyden_operator.api.pods import EnvVar, Placement, Resources, Volume

USER = 65532
WORKSPACE = "/workspace"
CHECKPOINTS = "/checkpoints"
NODE_LOST_SECONDS = 30
"""A pod leaves a node that is not ready or not reachable after so long; Kubernetes' own default is 300."""

VOLUME_KINDS = ("persistentVolumeClaim", "configMap", "secret", "emptyDir")
HOSTNAME = "kubernetes.io/hostname"


def security() -> Json:
    """Security context of a pod under the restricted standard."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container(name: str, image: str, pull_policy: str, command: str) -> Json:
    """A container that runs a Python module of ours, with a read-only root and nothing but /tmp to write to."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["python3", "-m", command],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def pod_spec(main: Json, volumes: list[Json]) -> Json:
    """A pod of one container that has no access to the API server."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security(),
        "containers": [main],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }


def add_mount(container: Json, volumes: list[Json], volume: Json, path: str, read_only: bool = False) -> None:
    """Mount ``volume`` at ``path``."""
    mount: Json = {"name": volume["name"], "mountPath": path}
    if read_only:
        mount["readOnly"] = True
    container["volumeMounts"].append(mount)
    volumes.append(volume)


def add_user_volumes(container: Json, volumes: list[Json], given: tuple[Volume, ...]) -> None:
    """Mount the user's volumes. Their names get a prefix, so none can hide one of ours."""
    for volume in given:
        source = volume.to_json()
        kept = {str(key): source[key] for key in VOLUME_KINDS if key in source}
        read_only = volume.read_only or volume.config_map is not None or volume.secret is not None
        add_mount(container, volumes, {"name": f"user-{volume.name}", **kept}, volume.mount_path, read_only)


def config_map_volume(name: str, config_map: str) -> Json:
    return {"name": name, "configMap": {"name": config_map}}


def claim_volume(name: str, claim: str, read_only: bool = False) -> Json:
    found: Json = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    if read_only:
        found["persistentVolumeClaim"]["readOnly"] = True
    return found


def value(name: str, text: str) -> Json:
    """An environment variable. Kubernetes would expand ``$(NAME)`` in it, so that is escaped."""
    return {"name": name, "value": text.replace("$(", "$$(")}


def from_field(name: str, path: str) -> Json:
    """An environment variable from the downward API."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def user_env(given: tuple[EnvVar, ...]) -> list[Json]:
    """The user's variables, as the API has them."""
    return [value(item.name, item.value) if item.value is not None else item.to_json() for item in given]


def resources(given: Resources) -> Json:
    """Resources without empty parts."""
    return {key: amounts for key, amounts in given.to_json().items() if amounts}


def placement(given: Placement, labels: dict[str, str]) -> Json:
    """Node selector, tolerations, runtime and spreading over nodes of the pods that have ``labels``; they leave lost
    nodes."""
    found: dict[str, Any] = {
        "runtimeClassName": given.runtime_class_name,
        "nodeSelector": dict(given.node_selector),
        "tolerations": [*(toleration.to_json() for toleration in given.tolerations), *leave_lost_nodes()],
    }
    term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": labels}}
    if given.spread == "required":
        found["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    if given.spread == "preferred":
        preferred = [{"weight": 100, "podAffinityTerm": term}]
        found["affinity"] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {key: part for key, part in found.items() if part}


def leave_lost_nodes() -> list[Json]:
    """Tolerations that make pods leave a lost node soon, so that they are replaced."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": NODE_LOST_SECONDS,
        }
        for taint in ("not-ready", "unreachable")
    ]
