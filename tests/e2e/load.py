"""Steady load on a service from inside the cluster, where its virtual address and readiness count as for any client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from e2e.kube import Cluster, Object
from leyden_quickstart.cluster import image_names

ASK = """
import json, os, signal, urllib.error, urllib.request
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
body = os.environ["BODY"].encode()
print("asking", flush=True)
while not over:
    request = urllib.request.Request(os.environ["URL"], body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            print(json.dumps({"status": response.status, "step": json.loads(response.read())["step"]}), flush=True)
    except (OSError, ValueError) as error:
        print(json.dumps({"status": getattr(error, "code", 0), "error": repr(error)}), flush=True)
print("over", flush=True)
signal.pause()
"""


@dataclass
class Answers:
    """What the load saw: the steps that answered, and everything that was not 200."""

    steps: set[int] = field(default_factory=set)
    lost: list[Any] = field(default_factory=list)
    total: int = 0

    def add(self, log: str) -> Self:
        """Take the pod's log. Gives itself."""
        for answer in (json.loads(line) for line in log.splitlines() if line.startswith("{")):
            self.total += 1
            if answer["status"] == 200:
                self.steps.add(answer["step"])
            else:
                self.lost.append(answer)
        return self


def load_pod(name: str, url: str, body: Any) -> Object:
    env = [{"name": "URL", "value": url}, {"name": "BODY", "value": json.dumps(body)}]
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "load",
        "image": image_names()["server"],
        "command": ["python3", "-c", ASK],
        "env": env,
        "securityContext": security,
    }
    pod_security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": pod_security, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@contextmanager
def steady_load(cluster: Cluster, service: str, body: Any) -> Iterator[Answers]:
    """Asks the service one request after the other while the context lasts; the answers are there at its end."""
    url = f"http://{service}.{cluster.kubectl.namespace}.svc/predict"
    answers = Answers()
    cluster.apply(load_pod("load", url, body))
    cluster.wait_until(lambda: "asking" in load_log(cluster), 60, "the load pod's first line")
    try:
        yield answers
    finally:
        cluster.kubectl.run("exec", "load", "--", "python3", "-c", "import os; os.kill(1, 15)")
        cluster.wait_until(lambda: load_log(cluster).rstrip().endswith("over"), 30, "the load pod's last line")
        answers.add(load_log(cluster))


def load_log(cluster: Cluster) -> str:
    """What the load pod has printed: a JSON object for each answer."""
    pod = cluster.get("pod", "load")
    started = pod.get("status", {}).get("phase") == "Running"
    return cluster.kubectl.run("logs", "load") if started else ""
