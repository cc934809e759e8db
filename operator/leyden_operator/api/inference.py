"""InferenceService: what the user asks for and what the operator reports."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from leyden_contract.manifest import ModelFormat, ServedFormat
from leyden_operator.api.base import Conditions, JobName, Metadata, Metrics, Model, Text, Word
from leyden_operator.api.pods import Env, Image, Placement, Resources, Source
from leyden_operator.api.training import AutoOrCount, Select
from leyden_operator.api.training_status import Count, Digest


class JobModel(Model):
    """The checkpoint of a training job."""

    name: JobName = Field(description="name of the TrainingJob")
    select: Select = Field(
        default="best", description="which checkpoint: best, latest or a step; newer ones are followed"
    )


class ModelSource(Model):
    """What is served."""

    training_job: JobModel = Field(description="a checkpoint of a TrainingJob of the same namespace")
    format: ModelFormat = Field(
        default="auto",
        description="`exported`, `onnx`, `torchscript`: an export, without the module's code; `checkpoint`: the code"
        " and the weights; `auto`: the first of these that the checkpoint has",
    )


class Server(Model):
    """How each server works."""

    workers: AutoOrCount = Field(
        default="auto", description="processes of each pod; `auto`: by its CPU limit, and one with a GPU"
    )
    timeout_ms: int = Field(default=5000, ge=10, le=600_000, description="longest time for one request")
    max_body_bytes: int = Field(default=10_485_760, ge=1024, le=1_073_741_824, description="largest request body")


class InferenceServiceSpec(Model):
    """What to serve, how often, and how."""

    model: ModelSource = Field(description="what is served")
    replicas: int = Field(default=1, ge=0, le=100, description="server pods")
    server: Server = Field(default_factory=Server, description="how each server works")
    image: Image = Field(default="", description="container image; empty: the operator's server image")
    source: Source | None = Field(default=None, description="where the module's code comes from; unset: as the job's")
    resources: Resources = Field(default_factory=Resources, description="resources of each server pod")
    placement: Placement = Field(default_factory=Placement, description="where pods may run")
    env: Env = Field(default=(), description="environment variables")


class Served(Model):
    """The checkpoint that is served."""

    step: Count = Field(description="optimizer steps done")
    digest: Digest
    training_job: Annotated[str, Field(max_length=253)] = Field(default="", description="name of the job")
    training_job_uid: Word = Field(default="", alias="trainingJobUID", description="UID of the job")
    claim_name: Annotated[str, Field(max_length=253)] = Field(default="", description="PersistentVolumeClaim it is on")
    directory: Annotated[str, Field(max_length=253)] = Field(default="", description="the job's directory in the claim")
    source: Annotated[str, Field(max_length=253)] = Field(
        default="", description="ConfigMap with the module's code; empty where none is needed"
    )
    format: ServedFormat = Field(default="checkpoint", description="what its servers load")
    metrics: Metrics = Field(default_factory=dict, description="metrics when it was taken")
    traffic_percent: Annotated[int, Field(ge=0, le=100)] = Field(default=0, description="share of requests it answers")


class Rejected(Model):
    """A checkpoint that could not be served; it is not tried again."""

    step: Count = Field(description="its step")
    digest: Digest
    reason: Text = Field(description="why")
    at: datetime = Field(description="when")


class ServiceSummary(Model):
    """What `kubectl get` shows; for people only."""

    ready: Word = Field(default="-", description="ready and desired server pods")
    model: Annotated[str, Field(max_length=160)] = Field(default="-", description="job and step that answer")
    traffic: Word = Field(default="-", description="share of requests that it answers")


class InferenceServiceStatus(Model):
    """What was observed, by the operator alone."""

    conditions: Conditions = Field(default=(), description="Ready Available UpToDate")
    observed_generation: Count = Field(default=0, description="generation of the spec that this status is about")
    url: Annotated[str, Field(max_length=253)] = Field(default="-", description="where it answers in the cluster")
    replicas: Count = Field(default=0, description="server pods")
    ready_replicas: Count = Field(default=0, description="server pods that answer")
    stable: Served | None = Field(default=None, description="the checkpoint that answers")
    target: Served | None = Field(default=None, description="the checkpoint that is asked for")
    rejected: tuple[Rejected, ...] = Field(
        default=(), max_length=16, description="checkpoints that are not tried again"
    )
    summary: ServiceSummary = Field(default_factory=ServiceSummary, description="what `kubectl get` shows")


class InferenceService(Model):
    """Serves a training job's checkpoint over HTTP and follows better ones."""

    metadata: Metadata
    spec: InferenceServiceSpec
    status: InferenceServiceStatus = InferenceServiceStatus()
