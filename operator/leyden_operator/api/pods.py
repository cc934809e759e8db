"""The curated pod surface: what users may say about pods. Nothing in it can raise a pod's privileges."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from leyden_operator.api.base import Model, ObjectName, Quantity, Word, rule, rules

RESERVED_MOUNTS = ("/tmp", "/dev/shm", "/checkpoints", "/workspace", "/origin")
RESERVED_ENV = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("HOME", "PYTHONPATH"),
)

Quantities = Annotated[dict[str, Quantity], Field(max_length=16)]
Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)]
Key = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class Resources(Model):
    """Resources of each pod."""

    requests: Quantities = Field(default_factory=dict, description="guaranteed, by resource name such as `cpu`")
    limits: Quantities = Field(
        default_factory=dict, description="upper bounds, by resource name such as `memory` or `nvidia.com/gpu`"
    )

    @property
    def gpus(self) -> int:
        """GPUs of each pod."""
        return int(self.limits.get("nvidia.com/gpu", "0"))


class ConfigMapReference(Model):
    """A ConfigMap of the same namespace."""

    name: ObjectName = Field(description="name of the ConfigMap")


class Source(Model):
    """Where the Python code comes from; without it the code is in the image."""

    config_map: ConfigMapReference | None = Field(
        default=None, description="ConfigMap whose files become the working directory"
    )


class KeyReference(Model):
    """One key of a Secret or ConfigMap of the same namespace."""

    name: ObjectName = Field(description="name of the object")
    key: Key = Field(description="key in its data")


class EnvSource(Model):
    """Where a variable's value comes from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.secretKeyRef) != has(self.configMapKeyRef)",
                "'valueFrom must have exactly one of secretKeyRef, configMapKeyRef, not '"
                " + (has(self.secretKeyRef) ? 'both' : 'neither')",
            )
        )
    )
    secret_key_ref: KeyReference | None = Field(default=None, description="key of a Secret")
    config_map_key_ref: KeyReference | None = Field(default=None, description="key of a ConfigMap")


class EnvVar(Model):
    """An environment variable."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"!self.name.startsWith('LEYDEN_') && !(self.name in {list(RESERVED_ENV)})",
                "'env name ' + self.name + ' is set by Leyden: names that start with LEYDEN_ and"
                f" {', '.join(RESERVED_ENV)} are not allowed'",
            ),
            rule(
                "has(self.value) != has(self.valueFrom)",
                "'env ' + self.name + ' must have exactly one of value, valueFrom, not '"
                " + (has(self.value) ? 'both' : 'neither')",
            ),
        )
    )
    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="variable's name")
    value: Annotated[str, Field(max_length=4096)] | None = Field(default=None, description="the value itself")
    value_from: EnvSource | None = Field(default=None, description="where the value comes from")


Env = Annotated[
    tuple[EnvVar, ...],
    Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]


class Toleration(Model):
    """Lets pods run on tainted nodes."""

    key: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="taint's key; unset: all")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="how the value is compared")
    value: Annotated[str, Field(max_length=63)] | None = Field(default=None, description="taint's value for `Equal`")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="taint's effect; unset: all"
    )
    toleration_seconds: int | None = Field(default=None, ge=0, le=86_400, description="how long `NoExecute` is borne")


class Placement(Model):
    """Where pods may run."""

    node_selector: Labels = Field(default_factory=dict, description="labels that a node must have")
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=16, description="taints that pods bear")
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass of the pods, such as `nvidia`; unset: the nodes' default runtime"
    )
    spread: Literal["preferred", "required", "none"] = Field(
        default="preferred", description="whether pods go to different nodes; `required`: at most one pod on a node"
    )


class EmptyDir(Model):
    """Scratch space that ends with the pod."""

    size_limit: Quantity | None = Field(default=None, description="most bytes it may hold")


class ClaimReference(Model):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName = Field(description="name of the PersistentVolumeClaim")


class SecretReference(Model):
    """A Secret of the same namespace; the operator never reads it."""

    secret_name: ObjectName = Field(description="name of the Secret")


class Volume(Model):
    """A volume in each pod of the job."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.persistentVolumeClaim), has(self.configMap), has(self.secret), has(self.emptyDir)]"
                ".filter(given, given).size() == 1",
                "'volume ' + self.name + ' must have exactly one of persistentVolumeClaim, configMap,"
                " secret, emptyDir'",
            ),
            rule(
                f"!{list(RESERVED_MOUNTS)}.exists(taken, self.mountPath == taken"
                " || self.mountPath.startsWith(taken + '/'))",
                "'volume ' + self.name + ' cannot be mounted at ' + self.mountPath + ': "
                f"{', '.join(RESERVED_MOUNTS)} are taken'",
            ),
        )
    )
    name: str = Field(min_length=1, max_length=50, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="its name")
    mount_path: str = Field(
        max_length=253,
        pattern=r"^(/[-_A-Za-z0-9]([-._A-Za-z0-9]*))+$",
        description="absolute path in the containers, without `..`",
    )
    read_only: bool = Field(default=False, description="refuse writes")
    persistent_volume_claim: ClaimReference | None = Field(default=None, description="a PersistentVolumeClaim")
    config_map: ConfigMapReference | None = Field(default=None, description="a ConfigMap")
    secret: SecretReference | None = Field(default=None, description="a Secret")
    empty_dir: EmptyDir | None = Field(default=None, description="scratch space")


Volumes = Annotated[
    tuple[Volume, ...],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]
Image = Annotated[str, Field(max_length=512, pattern=r"^[^\s]*$")]
PriorityClass = Annotated[Word, Field(description="PriorityClass of the pods; empty: the cluster's default")]
