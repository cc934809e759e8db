"""TrainingJob: what the user asks for."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from leyden_contract.manifest import ExportFormat
from leyden_operator.api.base import (
    MAX_NODES,
    JobName,
    Metadata,
    Model,
    Seconds,
    frozen_fields,
    int_or_string,
    rule,
    rules,
)
from leyden_operator.api.pods import (
    ClaimReference,
    Env,
    Image,
    Placement,
    PriorityClass,
    Resources,
    Source,
    Volumes,
)
from leyden_operator.api.training_status import TrainingJobStatus

CHANGEABLE = ("nodes", "suspend", "restarts", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
IMMUTABLE = (
    *("image", "source", "run", "processesPerNode", "resources"),
    *("checkpoint", "scheduling", "placement", "volumes", "env"),
)

ImportPath = Annotated[str, Field(min_length=3, max_length=253, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
AutoOrCount = Annotated[
    Literal["auto"] | Annotated[int, Field(ge=1, le=64)],
    int_or_string(
        {
            **rules(
                rule(
                    "type(self) == int ? (self >= 1 && self <= 64) : self == 'auto'",
                    "'must be auto or a number from 1 to 64, not ' + string(self)",
                )
            ),
            "maxLength": 16,
        }
    ),
]
Select = Annotated[
    Literal["best", "latest"] | Annotated[int, Field(ge=0)],
    int_or_string(
        {
            **rules(
                rule(
                    "type(self) == int ? self >= 0 : self in ['best', 'latest']",
                    "'must be best, latest or the step of a checkpoint, not ' + string(self)",
                )
            ),
            "maxLength": 16,
        }
    ),
]
FreeForm = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]


class ModuleConfig(Model):
    """Keyword arguments, as JSON values."""

    model: FreeForm = Field(default_factory=dict, description="arguments of the LightningModule")
    data: FreeForm = Field(default_factory=dict, description="arguments of the LightningDataModule")
    trainer: FreeForm = Field(default_factory=dict, description="arguments of the Trainer")


class ModuleRun(Model):
    """Leyden's engine drives `fit()`."""

    model: ImportPath = Field(description="LightningModule, as `module:Class`")
    data: ImportPath | None = Field(default=None, description="LightningDataModule, as `module:Class`")
    config: ModuleConfig = Field(default_factory=ModuleConfig, description="keyword arguments by section")


class ScriptRun(Model):
    """Any script that torchrun would run."""

    path: str = Field(
        min_length=1,
        max_length=512,
        pattern=r"^/?[-\w+@][-\w.+@]*(/[-\w+@][-\w.+@]*)*$",
        description="relative to the source, or absolute in the image; without `..`",
    )
    args: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        default=(), max_length=64, description="command line arguments"
    )


class Run(Model):
    """What is run: exactly one of `module` and `script`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.module) != has(self.script)",
                "'run must have exactly one of module, script, not ' + (has(self.module) ? 'both' : 'neither')",
            )
        )
    )
    module: ModuleRun | None = Field(default=None, description="a LightningModule that Leyden's engine trains")
    script: ScriptRun | None = Field(default=None, description="a script for `torch.distributed`")
    lightning: Literal["installed", "leyden"] = Field(
        default="installed",
        description="what `import lightning` is in the code: the installed package, or Leyden where there is none",
    )


class Nodes(Model):
    """How many worker pods train; fewer than `max` train on as long as there are `min`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.min <= self.max",
                "'nodes.min is %d: at most nodes.max, %d, is allowed'.format([self.min, self.max])",
            )
        )
    )
    min: int = Field(default=1, ge=1, le=MAX_NODES, description="fewest worker pods")
    max: int = Field(default=1, ge=1, le=MAX_NODES, description="most worker pods")


class Restarts(Model):
    """How many failures of the user's own code are borne. Lost pods, evictions and resizing never count."""

    max: int = Field(default=3, ge=0, le=100, description="failures within the window after which the job goes on")
    window_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = Field(
        default=3600, description="length of the sliding window"
    )


class CheckpointClaim(ClaimReference):
    """A directory on a PersistentVolumeClaim."""

    path: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-_A-Za-z0-9][-._A-Za-z0-9]*(/[-_A-Za-z0-9][-._A-Za-z0-9]*)*$",
        description="directory in the volume, relative and without `..`; two jobs should not share one",
    )


class Storage(Model):
    """Where checkpoints are kept."""

    persistent_volume_claim: CheckpointClaim = Field(description="a volume that every node can mount")


class Every(Model):
    """How often a checkpoint is taken, by one measure. Default: after each epoch."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.epochs), has(self.steps), has(self.minutes)].filter(given, given).size() <= 1",
                "'checkpoint.every takes one of epochs, steps, minutes, but ' + (has(self.epochs) ? 'epochs ' : '')"
                " + (has(self.steps) ? 'steps ' : '') + (has(self.minutes) ? 'minutes ' : '') + 'are given'",
            )
        )
    )
    epochs: int | None = Field(default=None, ge=1, le=1_000_000, description="every so many epochs")
    steps: int | None = Field(default=None, ge=1, le=1_000_000_000, description="every so many optimizer steps")
    minutes: int | None = Field(default=None, ge=1, le=100_000, description="every so many minutes")


class Keep(Model):
    """How many checkpoints stay; the newest and the best are never removed."""

    last: int = Field(default=3, ge=1, le=16, description="newest checkpoints that stay")
    best: int = Field(default=1, ge=1, le=16, description="best checkpoints that stay, where a metric is monitored")


class Monitor(Model):
    """The metric that ranks checkpoints."""

    metric: str = Field(min_length=1, max_length=128, description="name under which the module logs it")
    mode: Literal["min", "max"] = Field(default="min", description="whether smaller or greater is better")


class Resume(Model):
    """Where training starts."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!(has(self.mode) && has(self.trainingJob))",
                "'checkpoint.resume takes one of mode, trainingJob, not both: mode is ' + self.mode"
                " + ', trainingJob is ' + self.trainingJob",
            ),
            rule(
                "!has(self.select) || has(self.trainingJob)",
                "'checkpoint.resume.select is ' + string(self.select) + ': it is allowed only beside trainingJob'",
            ),
        )
    )
    mode: Literal["auto", "never"] | None = Field(
        default=None, description="`auto` (default): from the job's newest complete checkpoint; `never`: afresh"
    )
    training_job: JobName | None = Field(
        default=None, description="start from this job's checkpoint, until there is an own one"
    )
    select: Select | None = Field(default=None, description="which of its checkpoints: best (default), latest, a step")


class Checkpoint(Model):
    """Checkpoints: where, how often, which stay, and where training starts."""

    storage: Storage = Field(description="where they are kept")
    every: Every = Field(default_factory=Every, description="how often one is taken")
    keep: Keep = Field(default_factory=Keep, description="how many stay")
    monitor: Monitor | None = Field(default=None, description="metric that ranks them; unset: the newest is the best")
    resume: Resume = Field(default_factory=Resume, description="where training starts")
    export: Annotated[
        tuple[ExportFormat, ...], Field(max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=(), description="formats in which each one also holds the module, to be served without its code")


class Scheduling(Model):
    """How pods get onto nodes."""

    gang: Literal["auto", "none", "kubernetes"] = Field(
        default="auto",
        description="all or none of `nodes.min` pods start. `kubernetes`: by its PodGroup; `auto`: where there is one",
    )
    priority_class_name: PriorityClass = ""


class TrainingJobSpec(Model):
    """What to train, on how many nodes, and how to survive."""

    model_config = ConfigDict(json_schema_extra=rules(*frozen_fields(", ".join(CHANGEABLE), IMMUTABLE)))
    image: Image = Field(default="", description="container image; empty: the operator's trainer image")
    source: Source = Field(default_factory=Source, description="where the code comes from")
    run: Run = Field(description="what is run")
    nodes: Nodes = Field(default_factory=Nodes, description="how many worker pods; may be changed at any time")
    processes_per_node: AutoOrCount = Field(
        default="auto", description="processes of each pod; `auto`: one per GPU, else 1"
    )
    resources: Resources = Field(default_factory=Resources, description="resources of each worker pod")
    restarts: Restarts = Field(default_factory=Restarts, description="how many failures are borne")
    checkpoint: Checkpoint | None = Field(default=None, description="checkpoints; unset: a restart begins afresh")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="how pods get onto nodes")
    placement: Placement = Field(default_factory=Placement, description="where pods may run")
    volumes: Volumes = Field(default=(), description="more volumes")
    env: Env = Field(default=(), description="environment variables")
    suspend: bool = Field(default=False, description="take a checkpoint and give all pods back until it is false again")
    active_deadline_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = Field(
        default=None, description="the job fails when it is not done so long after its start; suspension counts too"
    )
    ttl_seconds_after_finished: Seconds | None = Field(
        default=None, description="remove the pods so long after the end; unset: they stay, with their logs"
    )


class TrainingJob(Model):
    """A training run on one or many pods that survives losing any of them."""

    metadata: Metadata
    spec: TrainingJobSpec
    status: TrainingJobStatus = TrainingJobStatus()
