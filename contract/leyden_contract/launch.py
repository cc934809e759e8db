"""What the operator hands to the agent and the agent to the ranks: how to run, and what to do about checkpoints."""

from typing import Any, Literal

from pydantic import Field, model_validator

from leyden_contract.manifest import ExportFormat, Frozen


class ModuleRun(Frozen):
    """Leyden's engine drives ``fit()``."""

    model: str = Field(description="import path of the LightningModule, `module:Class`")
    data: str | None = Field(default=None, description="import path of the LightningDataModule, `module:Class`")
    config: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments by section: model, data, trainer"
    )


class ScriptRun(Frozen):
    """Any script that torchrun would run."""

    path: str = Field(description="relative to the source directory, or absolute in the image")
    args: tuple[str, ...] = ()


class Run(Frozen):
    """Exactly one of ``module`` and ``script``."""

    module: ModuleRun | None = None
    script: ScriptRun | None = None
    lightning: Literal["installed", "leyden"] = Field(
        default="installed", description="what `import lightning` is; `leyden`: Leyden, where it is not installed"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "Run":
        if (self.module is None) == (self.script is None):
            raise ValueError("exactly one of module, script must be given")
        return self


class Every(Frozen):
    """How often a checkpoint is taken; at most one is set. Default: once an epoch."""

    epochs: int | None = None
    steps: int | None = None
    minutes: int | None = None


class Keep(Frozen):
    """How many checkpoints stay: the newest and the best ones. ``best`` counts only where a metric is monitored."""

    last: int = 3
    best: int = 1


class Monitor(Frozen):
    """The metric that ranks checkpoints."""

    metric: str
    mode: Literal["min", "max"] = "min"


class Resume(Frozen):
    """Where training starts from when its own directory holds no checkpoint yet, or whether it looks at all."""

    mode: Literal["auto", "never", "other"] = "auto"
    directory: str | None = Field(default=None, description="for `other`: the other job's checkpoint directory")
    step: int | None = Field(default=None, description="for `other`: the step chosen by the operator")


class CheckpointPlan(Frozen):
    """The value of ``LEYDEN_CHECKPOINT``."""

    directory: str
    every: Every = Every()
    keep: Keep = Keep()
    monitor: Monitor | None = None
    resume: Resume = Resume()
    export: tuple[ExportFormat, ...] = Field(default=(), description="exports of each checkpoint")
