"""How long a user waits, on a running cluster with the operator installed (`make quickstart` leaves one).

    python benchmarks/cluster_latency.py [--runs 10]

Prints, in seconds: apply -> pods created, apply -> first training step (minimum, median and maximum of the runs);
a worker killed -> training again; a checkpoint committed -> the first answer from it.
"""

import argparse
import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "cluster")]
os.environ["PYTHONPATH"] = str(ROOT / "cluster")

from e2e.elastic_job import SLOW, long_job, newest_checkpoint, ready_nodes, step_of  # noqa: E402  the path comes first
from e2e.kube import Cluster, checkpoints, code, inference_service  # noqa: E402
from leyden_quickstart import cluster as steps  # noqa: E402

NAMESPACE = "leyden-benchmark"


def seconds_until(satisfied: Callable[[], bool], limit: float = 180) -> float:
    began = time.monotonic()
    while not satisfied():
        if time.monotonic() - began > limit:
            raise SystemExit(f"not seen in {limit} s")
        time.sleep(0.05)
    return time.monotonic() - began


def start_up(cluster: Cluster, run: int) -> tuple[float, float]:
    """Seconds from apply to all pods created, and to the first step, of a job of two pods."""
    name = f"start-{run}"
    cluster.apply(long_job(name, 2, 2))
    created = seconds_until(lambda: len(cluster.workers(name)) == 2)
    stepped = seconds_until(lambda: step_of(cluster.get("trainingjob", name)) > 0)
    cluster.delete("trainingjob", name, "--wait=true")
    return created, created + stepped


def recovery(cluster: Cluster) -> float:
    """Seconds from rank 0's forced deletion to the first step of the round that follows, on all three pods again."""
    cluster.apply(long_job("recovery", 1, 3, epochs=60))
    seconds_until(lambda: _training(cluster, 0))
    pod = cluster.workers("recovery")[0]
    step = step_of(cluster.get("trainingjob", "recovery"))
    cluster.delete("pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    waited = seconds_until(lambda: _training(cluster, step))
    cluster.delete("trainingjob", "recovery", "--wait=true")
    return waited


def _training(cluster: Cluster, after: int) -> bool:
    job = cluster.get("trainingjob", "recovery")
    return ready_nodes(job) == 3 and step_of(job) > after and newest_checkpoint(job) > 0


def promotion(cluster: Cluster) -> float:
    """Seconds from a checkpoint in the job's status to the first answer from it."""
    cluster.apply(long_job("promotion", 1, 1, epochs=3))
    cluster.apply(
        inference_service("promotion", "promotion", model={"trainingJob": {"name": "promotion", "select": "latest"}})
    )
    cluster.wait_condition("inferenceservice", "promotion", "Ready", seconds=240)
    cluster.wait_condition("trainingjob", "promotion", "Succeeded", seconds=240)
    newest = newest_checkpoint(cluster.get("trainingjob", "promotion"))
    began = time.monotonic()
    seconds_until(lambda: _served(cluster) == newest)
    return time.monotonic() - began


def _served(cluster: Cluster) -> int:
    with cluster.kubectl.forward("service/promotion", 80) as url:
        image = json.loads((ROOT / "examples/digits/held-out.json").read_text())[0]["image"]
        request = urllib.request.Request(
            f"{url}/predict", json.dumps({"inputs": [[image]]}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.headers["x-leyden-step"])


def spread(values: list[float]) -> str:
    return f"min {min(values):.1f}  median {statistics.median(values):.1f}  max {max(values):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    ground = steps.ground_here()
    steps.use_running(ground)
    with Cluster(ground.kubectl).namespace(NAMESPACE, f"benchmark-{os.getpid()}") as cluster:
        cluster.apply(code(slow=SLOW), checkpoints())
        created, stepped = zip(*(start_up(cluster, run) for run in range(runs)), strict=True)
        print(f"apply -> pods created      {spread(list(created))}")
        print(f"apply -> first step        {spread(list(stepped))}")
        print(f"worker killed -> training  {recovery(cluster):.1f}")
        print(f"checkpoint -> answer       {promotion(cluster):.1f}")


if __name__ == "__main__":
    main()
