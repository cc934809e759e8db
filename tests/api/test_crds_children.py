"""The children that are built, on a real kube-apiserver with the restricted pod security standard enforced."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from leyden_cluster.apiserver import ApiServer, start_apiserver
from leyden_operator.api import InferenceService, TrainingJob
from leyden_operator.api.inference import Served
from leyden_operator.decide.children import covers
from leyden_operator.desired import serving, training
from leyden_operator.settings import Settings

pytestmark = pytest.mark.api
SETTINGS = Settings()
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "ml", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
RUNTIME = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
META = {"name": "a" * 40, "namespace": "ml", "uid": "5b7ff0a5-3c1c-4b6f-9b43-6d1d1f0f0b11"}
CLAIM = {"claimName": "c", "path": "p"}
JOB = TrainingJob.model_validate(
    {
        "metadata": {**META, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "source": {"configMap": {"name": "code"}},
            "run": {"module": {"model": "digits:LitDigits", "config": {"model": {"text": "$(HOME)"}}}},
            "nodes": {"min": 2, "max": 3},
            "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": 1}},
            "checkpoint": {"storage": {"persistentVolumeClaim": CLAIM}},
            "placement": {
                "nodeSelector": {"a": "b"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "runtimeClassName": "nvidia",
            },
            "volumes": [
                {"name": "d", "mountPath": "/data", "persistentVolumeClaim": {"claimName": "data"}, "readOnly": True},
                {"name": "s", "mountPath": "/secret", "secret": {"secretName": "s"}},
                {"name": "e", "mountPath": "/scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
            "env": [
                {"name": "A", "value": "$(B)"},
                {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
        },
    }
)
SERVICE = InferenceService.model_validate(
    {
        "metadata": {**META, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"model": {"trainingJob": {"name": "digits"}}, "replicas": 2},
    }
)
MODEL = Served(step=1200, digest="sha256:" + "0" * 64, claim_name="c", directory="p", source="code")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    found = start_apiserver(tmp_path_factory.mktemp("apiserver"), controllers=True)
    try:
        apply(found, NAMESPACE)
        apply(found, RUNTIME)
        wait = ["wait", "-n=ml", "--for=create", "--timeout=30s", "serviceaccount/default"]
        subprocess.run([found.kubectl, f"--kubeconfig={found.kubeconfig}", *wait], check=True)
        yield found
    finally:
        found.stop()


def apply(server: ApiServer, body: dict[str, Any], *options: str) -> dict[str, Any]:
    """The object as the API server took it. Warnings count as refusals, but for that on a beta API."""
    command = [server.kubectl, f"--kubeconfig={server.kubeconfig}", "apply", "--server-side", "-o", "json", *options]
    done = subprocess.run([*command, "-f", "-"], input=json.dumps(body), capture_output=True, text=True, check=False)
    warnings = [line for line in done.stderr.splitlines() if "PodGroup is deprecated" not in line]
    assert done.returncode == 0 and not warnings, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


WORKER = training.worker(JOB, training.Place(9999, 999, 999), training.Origin("other", "q", 7), True, SETTINGS)


@pytest.mark.parametrize(
    "child",
    [
        pytest.param(training.service(JOB, 0), id="headless-service"),
        pytest.param(training.network_policy(JOB, 0, SETTINGS), id="network-policy"),
        pytest.param(training.pod_group(JOB, 0), id="pod-group"),
        pytest.param(training.coordinator(JOB, 0, 3, SETTINGS), id="coordinator"),
        pytest.param(WORKER, id="worker-with-the-longest-name"),
        pytest.param(serving.cluster_service(SERVICE), id="service"),
        pytest.param(serving.deployment(SERVICE, MODEL, SETTINGS), id="deployment"),
        pytest.param(serving.disruption_budget(SERVICE), id="disruption-budget"),
    ],
)
def test_child_is_taken_as_it_is_built(server: ApiServer, child: dict[str, Any]) -> None:
    taken = apply(server, child, "--dry-run=server", "--validate=strict")
    assert covers(taken, child), "otherwise it would be applied again and again"
