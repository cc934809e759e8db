"""The cluster that is up, or one that is started for these tests and left running, as the end-to-end tests leave it."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leyden_cluster import lifecycle
from leyden_cluster.settings import Node

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


def tool(module: str, *arguments: str) -> str:
    """Standard output of one of the project's own tools."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "cluster")}
    ran = subprocess.run([sys.executable, "-m", module, *arguments], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{module} {' '.join(arguments)}: {ran.stdout}{ran.stderr}"
    return ran.stdout


@dataclass(frozen=True)
class Cluster:
    """A running cluster, seen from one namespace."""

    namespace: str
    image: str
    """Has Python, and every node has it."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return lifecycle.kubectl(lifecycle.plane(), "-n", self.namespace, *arguments, stdin=stdin)

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def pod(self, name: str, node: Node, code: str, **spec: object) -> Object:
        """A pod that runs Python code on a node."""
        container = {
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "Never",
            "command": ["python3", "-c", code],
            **({"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]} if "volumes" in spec else {}),
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "nodeName": node.name,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                **spec,
            },
        }

    def phase(self, name: str) -> str:
        return str(self.get("pod", name)["status"]["phase"])

    def await_phase(self, name: str, phase: str) -> None:
        wait(lambda: self.phase(name), phase)


def wait(look: Callable[[], object], wanted: object, seconds: float = 60) -> None:
    """What ``look`` sees becomes what is wanted; the failure shows what was seen last."""
    deadline = time.monotonic() + seconds
    while (seen := look()) != wanted:
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {seen!r}, not {wanted!r}"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def image() -> str:
    """The operator's image, on every node of a cluster that is up with two nodes at least."""
    nodes = len(lifecycle.present_nodes())
    tool("leyden_cluster", "up", "--nodes", str(max(nodes, 2)))
    tool("leyden_images", "build", "--load", "operator")
    name: str = json.loads(tool("leyden_images", "names", "--json"))["operator"]
    return name


@pytest.fixture
def cluster(image: str) -> Iterator[Cluster]:
    """A namespace of the test's own; in the end every node is back and ready."""
    made = Cluster(f"lifecycle-{secrets.token_hex(4)}", image)
    made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}})
    wait(lambda: "default" in made.kubectl("get", "serviceaccounts", "-o", "name"), True)
    yield made
    tool("leyden_cluster", "up", "--nodes", str(len(lifecycle.present_nodes())))
    made.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def command() -> Callable[..., str]:
    """Runs ``leyden_cluster`` as a user does."""
    return lambda *arguments: tool("leyden_cluster", *arguments)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait
