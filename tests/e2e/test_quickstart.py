"""The README's first command, as a new user runs it, and run again."""

import json
import subprocess
import sys
import time

from e2e.kube import Cluster
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
