"""The README's first command, as a new user runs it, and run again."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from e2e.kube import EXAMPLES, Cluster, inference_service
from e2e.test_export import answers
from leyden_quickstart.cluster import NAMESPACE, ROOT

WARM_SECONDS = 180.0


def quickstart() -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "leyden_quickstart", "up"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def identities(cluster: Cluster) -> set[tuple[str, str]]:
    """Name and UID of everything that the quickstart made."""
    listed = cluster.kubectl.run(
        "get", "trainingjobs,inferenceservices,pods,deployments,services,pvc", f"-n={NAMESPACE}", "-o", "json"
    )
    return {(item["metadata"]["name"], item["metadata"]["uid"]) for item in json.loads(listed)["items"]}


def test_quickstart_predicts_and_a_second_run_recreates_nothing(installed: Cluster) -> None:
    first = quickstart()
    assert "val_acc 0.9" in first and "right, step" in first and "sha256:" in first
    before = identities(installed)
    began = time.monotonic()
    second = quickstart()
    assert time.monotonic() - began < WARM_SECONDS
    assert "right, step" in second
    assert identities(installed) == before


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_the_quickstarts_model_is_served_from_its_export_and_from_its_checkpoint(installed: Cluster) -> None:
    quickstart()
    cluster = Cluster(replace(installed.kubectl, namespace=NAMESPACE))
    model = {"trainingJob": {"name": "digits"}, "format": "checkpoint"}
    try:
        cluster.kubectl.run("apply", "-f", str(EXAMPLES / "digits" / "inferenceservice-exported.yaml"))
        cluster.apply(inference_service("digits-by-code", "digits", model=model))
        exported, by_code = answers(cluster, "digits-exported"), answers(cluster, "digits-by-code")
    finally:
        for name in ("digits-exported", "digits-by-code"):
            cluster.delete("inferenceservice", name, "--ignore-not-found")
    assert [row.index(max(row)) for row in exported] == [row.index(max(row)) for row in by_code]
    for mine, right in zip(exported, by_code, strict=True):
        assert mine == pytest.approx(right, rel=1e-4, abs=1e-4)
