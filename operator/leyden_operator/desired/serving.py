"""The children of an InferenceService: Deployment, Service, PodDisruptionBudget."""

import json

from leyden_contract import environment
from leyden_operator.api import InferenceService, Json
from leyden_operator.api.inference import Served
from leyden_operator.desired import names, pods
from leyden_operator.settings import Settings

PORT = 8080
LEAVE_SECONDS = 5
"""Between the order to end and SIGTERM: time for proxies everywhere to stop sending new requests."""


def selector(service: InferenceService) -> dict[str, str]:
    """Labels of the service's server pods."""
    return {names.INFERENCE_SERVICE: service.metadata.name, names.ROLE: "server"}


def url(service: InferenceService) -> str:
    """Where the service answers, from within the cluster."""
    return f"http://{service.metadata.name}.{service.metadata.namespace}.svc"


def cluster_service(service: InferenceService) -> Json:
    """The Service that spreads requests over ready pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(service.metadata, "InferenceService", service.metadata.name),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(service),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": PORT}],
        },
    }


def disruption_budget(service: InferenceService) -> Json:
    """Voluntary disruptions take one server at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": names.metadata(service.metadata, "InferenceService", service.metadata.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(service)}},
    }


def deployment(service: InferenceService, model: Served, settings: Settings) -> Json:
    """Servers of one checkpoint. Another checkpoint replaces them pod by pod, a ready one first."""
    labels = selector(service)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names.metadata(
            service.metadata, "InferenceService", service.metadata.name, {names.STEP: str(model.step)}
        ),
        "spec": {
            "replicas": service.spec.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": {names.MANAGED_BY: names.MANAGER, **labels, names.STEP: str(model.step)},
                    "annotations": {names.DIGEST: model.digest},
                },
                "spec": _pod(service, model, settings),
            },
        },
    }


def _pod(service: InferenceService, model: Served, settings: Settings) -> Json:
    spec = service.spec
    main = pods.container("server", spec.image or settings.server_image, settings.image_pull_policy, "leyden_server")
    volumes: list[Json] = []
    claim = pods.claim_volume("checkpoints", model.claim_name, read_only=True)
    pods.add_mount(main, volumes, claim, pods.CHECKPOINTS, read_only=True)
    if model.source:
        source = pods.config_map_volume("source", model.source)
        pods.add_mount(main, volumes, source, pods.WORKSPACE, read_only=True)
        main["workingDir"] = pods.WORKSPACE
    main["env"] = [
        pods.value(environment.MODEL_DIRECTORY, f"{pods.CHECKPOINTS}/{model.directory}"),
        pods.value(environment.MODEL_STEP, str(model.step)),
        pods.value(environment.MODEL_DIGEST, model.digest),
        pods.value(environment.MODEL_FORMAT, model.format),
        pods.value(environment.SERVER, json.dumps(spec.server.to_json(), separators=(",", ":"))),
        *pods.user_env(spec.env),
    ]
    main["resources"] = pods.resources(spec.resources)
    main |= _lifecycle()
    found = pods.pod_spec(main, volumes)
    found |= pods.placement(spec.placement, selector(service))
    found["terminationGracePeriodSeconds"] = LEAVE_SECONDS + spec.server.timeout_ms // 1000 + 10
    return found


def _lifecycle() -> Json:
    """Start, readiness, life and end of a server. Loading torch and a model may take minutes on a busy node."""
    return {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1, "failureThreshold": 600},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 5},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
