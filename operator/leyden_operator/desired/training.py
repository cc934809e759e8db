"""The children of a TrainingJob's attempt: Service, PodGroup, NetworkPolicy, coordinator pod, worker pods."""

import json
from dataclasses import dataclass

from leyden_contract import environment
from leyden_contract.launch import CheckpointPlan
from leyden_contract.wire import PORT
from leyden_operator.api import Json, TrainingJob
from leyden_operator.api.training import Checkpoint
from leyden_operator.desired import names, pods
from leyden_operator.settings import Settings

ORIGIN = "/origin"
"""Where another job's claim is mounted, when training starts from a checkpoint on it."""

LEDGER = "/var/lib/leyden/ledger.json"
STOP_SECONDS = 60
"""Grace of a worker pod: its ranks commit a checkpoint in that time."""


def labels(role: str, attempt: int, index: int | None = None) -> dict[str, str]:
    found = {names.ROLE: role, names.ATTEMPT: str(attempt)}
    return found if index is None else {**found, names.NODE_INDEX: str(index)}


def job_labels(job: TrainingJob, role: str) -> dict[str, str]:
    """Selects a job's pods of one role."""
    return {names.TRAINING_JOB: job.metadata.name, names.ROLE: role}


def service(job: TrainingJob, attempt: int) -> Json:
    """Headless Service: gives pods names in DNS before they are ready."""
    name = names.run_name(job.metadata.name, attempt)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(job.metadata, "TrainingJob", name, {names.ATTEMPT: str(attempt)}),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.TRAINING_JOB: job.metadata.name, names.ATTEMPT: str(attempt)},
            "ports": [{"name": "coordinator", "port": PORT, "protocol": "TCP", "targetPort": PORT}],
        },
    }


def pod_group(job: TrainingJob, attempt: int) -> Json:
    """Kubernetes' own gang: none of the workers starts before ``nodes.min`` of them can."""
    name = names.run_name(job.metadata.name, attempt)
    return {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": names.metadata(job.metadata, "TrainingJob", name, {names.ATTEMPT: str(attempt)}),
        "spec": {"schedulingPolicy": {"gang": {"minCount": job.spec.nodes.min}}},
    }


def network_policy(job: TrainingJob, attempt: int, settings: Settings) -> Json:
    """Only the job's own pods and the operator's namespace reach the job's pods."""
    own = {"podSelector": {"matchLabels": {names.TRAINING_JOB: job.metadata.name}}}
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.namespace}}}
    name = names.run_name(job.metadata.name, attempt)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(job.metadata, "TrainingJob", name, {names.ATTEMPT: str(attempt)}),
        "spec": {
            "podSelector": {"matchLabels": {names.TRAINING_JOB: job.metadata.name}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [own]}, {"from": [operator], "ports": [{"port": PORT, "protocol": "TCP"}]}],
        },
    }


def coordinator(job: TrainingJob, attempt: int, budget: int, settings: Settings) -> Json:
    """The pod that forms rounds. ``budget``: failures that the attempt may survive, at least 0."""
    main = pods.container("coordinator", settings.coordinator_image, settings.image_pull_policy, "leyden_coordinator")
    volumes: list[Json] = []
    pods.add_mount(main, volumes, {"name": "ledger", "emptyDir": {"sizeLimit": "64Mi"}}, "/var/lib/leyden")
    main["env"] = [
        pods.value(environment.RUN_ID, names.run_id(job.metadata.uid, attempt)),
        pods.value(environment.TOKEN, job.metadata.uid),
        pods.value(environment.NODES_MIN, str(job.spec.nodes.min)),
        pods.value(environment.NODES_MAX, str(job.spec.nodes.max)),
        pods.value(environment.RESTART_BUDGET, str(budget)),
        pods.value(environment.LEDGER, LEDGER),
    ]
    main["ports"] = [{"name": "http", "containerPort": PORT}]
    main["resources"] = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    main["livenessProbe"] = {
        "httpGet": {"path": "/healthz", "port": PORT},
        "initialDelaySeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    }
    spec = pods.pod_spec(main, volumes)
    spec["tolerations"] = pods.leave_lost_nodes()
    spec["restartPolicy"] = "Always"
    spec["terminationGracePeriodSeconds"] = 10
    return _pod(job, attempt, names.coordinator_name(job.metadata.name, attempt), labels("coordinator", attempt), spec)


@dataclass(frozen=True)
class Origin:
    """Another job's checkpoint to start from: the claim it is on, its job's directory there, its step."""

    claim: str
    path: str
    step: int


@dataclass(frozen=True)
class Place:
    """Which worker a pod is."""

    attempt: int
    index: int
    replacement: int = 0


def worker(job: TrainingJob, place: Place, origin: Origin | None, gang: bool, settings: Settings) -> Json:
    """The pod of one node. ``gang``: it belongs to the attempt's PodGroup."""
    spec, attempt = job.spec, place.attempt
    main = pods.container("worker", spec.image or settings.trainer_image, settings.image_pull_policy, "leyden.agent")
    volumes: list[Json] = []
    _mount(job, origin, main, volumes)
    main["env"] = _worker_env(job, place, checkpoint_plan(spec.checkpoint, origin))
    main["resources"] = pods.resources(spec.resources)
    main["terminationMessagePolicy"] = "FallbackToLogsOnError"
    found = pods.pod_spec(main, volumes)
    found |= pods.placement(spec.placement, job_labels(job, "worker"))
    found["restartPolicy"] = "Never"
    found["terminationGracePeriodSeconds"] = STOP_SECONDS
    if spec.scheduling.priority_class_name:
        found["priorityClassName"] = spec.scheduling.priority_class_name
    if gang:
        found["schedulingGroup"] = {"podGroupName": names.run_name(job.metadata.name, attempt)}
    name = names.worker_name(job.metadata.name, attempt, place.index, place.replacement)
    return _pod(job, attempt, name, labels("worker", attempt, place.index), found)


def _mount(job: TrainingJob, origin: Origin | None, main: Json, volumes: list[Json]) -> None:
    spec = job.spec
    pods.add_mount(main, volumes, {"name": "shm", "emptyDir": {"medium": "Memory"}}, "/dev/shm")
    if spec.source.config_map:
        source = pods.config_map_volume("source", spec.source.config_map.name)
        pods.add_mount(main, volumes, source, pods.WORKSPACE, read_only=True)
        main["workingDir"] = pods.WORKSPACE
    if spec.checkpoint:
        claim = spec.checkpoint.storage.persistent_volume_claim.claim_name
        pods.add_mount(main, volumes, pods.claim_volume("checkpoints", claim), pods.CHECKPOINTS)
        if origin and origin.claim != claim:
            other = pods.claim_volume("origin", origin.claim, read_only=True)
            pods.add_mount(main, volumes, other, ORIGIN, read_only=True)
    pods.add_user_volumes(main, volumes, spec.volumes)


def _pod(job: TrainingJob, attempt: int, name: str, given: dict[str, str], spec: Json) -> Json:
    spec["hostname"] = name
    spec["subdomain"] = names.run_name(job.metadata.name, attempt)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": names.metadata(job.metadata, "TrainingJob", name, given),
        "spec": spec,
    }


def _worker_env(job: TrainingJob, place: Place, plan: CheckpointPlan | None) -> list[Json]:
    attempt = place.attempt
    run = json.dumps(job.spec.run.to_json(), separators=(",", ":"))
    found = [
        pods.value(environment.COORDINATOR, names.coordinator_url(job.metadata.name, job.metadata.namespace, attempt)),
        pods.value(environment.TOKEN, job.metadata.uid),
        pods.value(environment.RUN_ID, names.run_id(job.metadata.uid, attempt)),
        pods.from_field(environment.POD_NAME, "metadata.name"),
        pods.from_field(environment.POD_UID, "metadata.uid"),
        pods.from_field(environment.NODE_NAME, "spec.nodeName"),
        pods.from_field(environment.POD_IP, "status.podIP"),
        pods.value(environment.NODE_INDEX, str(place.index)),
        pods.value(environment.PROCESSES_PER_NODE, processes(job)),
        pods.value(environment.RUN, run),
    ]
    if plan:
        found.append(pods.value(environment.CHECKPOINT, plan.model_dump_json(exclude_none=True)))
    return found + pods.user_env(job.spec.env)


def processes(job: TrainingJob) -> str:
    """Processes of each pod: ``auto`` is settled here where GPUs are asked for."""
    asked = job.spec.processes_per_node
    return str(job.spec.resources.gpus or "auto") if asked == "auto" else str(asked)


def checkpoint_plan(checkpoint: Checkpoint | None, origin: Origin | None) -> CheckpointPlan | None:
    """What the ranks do about checkpoints; ``None`` without any."""
    if checkpoint is None:
        return None
    claim = checkpoint.storage.persistent_volume_claim
    resume: Json = {"mode": checkpoint.resume.mode or "auto"}
    if origin:
        root = pods.CHECKPOINTS if origin.claim == claim.claim_name else ORIGIN
        resume = {"mode": "other", "directory": f"{root}/{origin.path}", "step": origin.step}
    return CheckpointPlan.model_validate(
        {
            "directory": f"{pods.CHECKPOINTS}/{claim.path}",
            "every": checkpoint.every.model_dump(),
            "keep": checkpoint.keep.model_dump(),
            "monitor": checkpoint.monitor.model_dump() if checkpoint.monitor else None,
            "resume": resume,
            "export": checkpoint.export,
        }
    )
