"""Deleting a namespace with everything in it finishes within a minute, with the operator running or not."""

import time

import pytest

from e2e.elastic_job import SLOW, long_job
from e2e.kube import Cluster, checkpoints, code, inference_service

LIMIT = 60.0


@pytest.mark.parametrize("operator", [pytest.param(1, id="operator-running"), pytest.param(0, id="operator-gone")])
def test_a_namespace_goes_within_a_minute(cluster: Cluster, installed: Cluster, operator: int) -> None:
    cluster.apply(code(slow=SLOW), checkpoints(), long_job("job", 1, 2), inference_service("service", "job"))
    cluster.wait_condition("inferenceservice", "service", "Ready", seconds=240)
    scale = ["-n=leyden-system", "scale", "deployment", "-l", "app.kubernetes.io/name=leyden"]
    installed.kubectl.run(*scale, f"--replicas={operator}")
    try:
        began = time.monotonic()
        installed.kubectl.run("delete", "namespace", cluster.kubectl.namespace, f"--timeout={LIMIT:.0f}s")
        assert time.monotonic() - began < LIMIT
    finally:
        installed.kubectl.run(*scale, "--replicas=1")
        cluster.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.kubectl.namespace}}
        )
