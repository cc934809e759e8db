"""Deleting a namespace with everything in it finishes within a minute, with the operator running or not."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from e2e.disturbances import no_operator
from e2e.elastic_job import SLOW, long_job
from e2e.kube import Cluster, checkpoints, code, inference_service

LIMIT = 60.0


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(nullcontext, id="operator-running"),
        pytest.param(no_operator, id="operator-gone", marks=pytest.mark.alone),
    ],
)
def test_a_namespace_goes_within_a_minute(
    cluster: Cluster, meanwhile: Callable[[Cluster], AbstractContextManager[object]]
) -> None:
    cluster.apply(code(slow=SLOW), checkpoints(), long_job("job", 1, 2), inference_service("service", "job"))
    cluster.wait_condition("inferenceservice", "service", "Ready", seconds=240)
    with meanwhile(cluster):
        began = time.monotonic()
        cluster.kubectl.run("delete", "namespace", cluster.kubectl.namespace, f"--timeout={LIMIT:.0f}s")
        assert time.monotonic() - began < LIMIT
