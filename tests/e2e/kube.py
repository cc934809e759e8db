"""What the end-to-end tests do with a cluster: apply, watch with a deadline, and show what was seen when time is up."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leyden_quickstart.console import StepFailed
from leyden_quickstart.kubernetes import Kubectl, condition

Object = dict[str, Any]
TEST_RUN = "leyden.dev/test-run"
EXAMPLES = Path(__file__).parents[2] / "examples"


class NotSeen(AssertionError):
    """What was waited for did not happen in time. The message holds the last state."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster with the operator installed, seen from one namespace."""

    kubectl: Kubectl

    def sweep(self, run: str) -> None:
        """What tests of another run have left behind, which was cut off: its pods would go on training beside ours."""
        self.kubectl.run("delete", "namespace", "-l", f"{TEST_RUN},{TEST_RUN}!={run}", "--wait=false")

    @contextmanager
    def namespace(self, name: str, run: str) -> Iterator["Cluster"]:
        """A namespace of the test's own, with restricted pod security, deleted at the end."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted", TEST_RUN: run}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.kubectl.apply(made)
        inside = Cluster(replace(self.kubectl, namespace=name))
        try:
            yield inside
        finally:
            self.kubectl.run("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def apply(self, *objects: Object) -> None:
        self.kubectl.apply(*objects)

    def get(self, kind: str, name: str) -> Object:
        return self.kubectl.get(kind, name)

    def listed(self, kind: str, selector: str = "", *where: str) -> list[Object]:
        arguments = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.kubectl.run("get", kind, *where, *arguments, "-o", "json"))["items"]
        return items

    def workers(self, job: str) -> list[Object]:
        """The job's worker pods that are not going away, by node index."""
        pods = self.listed("pods", f"leyden.dev/training-job={job},leyden.dev/role=worker")
        living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: int(pod["metadata"]["labels"]["leyden.dev/node-index"]))

    def patch(self, kind: str, name: str, spec: Object) -> None:
        self.kubectl.run("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self, kind: str, name: str, *arguments: str) -> None:
        self.kubectl.run("delete", kind, name, *arguments)

    def wait(self, kind: str, name: str, satisfied: Callable[[Object], bool], seconds: float = 120) -> Object:
        """The object once it satisfies.

        Raises:
            NotSeen: with its status and the pods' when the time is up.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            thing = self.get(kind, name)
            if thing and satisfied(thing):
                return thing
            time.sleep(0.5)
        raise NotSeen(
            f"{kind}/{name} after {seconds} s: {json.dumps(self.get(kind, name).get('status'))}\n{self.pods()}"
        )

    def wait_condition(self, kind: str, name: str, type_: str, status: str = "True", seconds: float = 120) -> Object:
        """The object once a condition has a status."""
        return self.wait(kind, name, lambda thing: condition(thing, type_).get("status") == status, seconds)

    def wait_until(self, satisfied: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not satisfied():
            if time.monotonic() > deadline:
                raise NotSeen(f"{what} did not happen in {seconds} s\n{self.pods()}")
            time.sleep(0.5)

    def pods(self) -> str:
        try:
            return self.kubectl.run("get", "pods", "-o", "wide")
        except StepFailed as error:
            return error.reason


def training_job(name: str, **spec: Any) -> Object:
    """The digits example as a TrainingJob of another name, with some fields of its spec replaced."""
    base: Object = {
        "source": {"configMap": {"name": "code"}},
        "run": {"module": {"model": "digits:LitDigits", "data": "digits:DigitsData", "config": config()}},
        "nodes": {"min": 1, "max": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "2Gi"}},
        "checkpoint": {
            "storage": {"persistentVolumeClaim": {"claimName": "checkpoints", "path": name}},
            "monitor": {"metric": "val_acc", "mode": "max"},
        },
    }
    return {
        "apiVersion": "leyden.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def config(epochs: int = 2) -> Object:
    return {"data": {"batch_size": 32}, "trainer": {"max_epochs": epochs}}


def inference_service(name: str, job: str, **spec: Any) -> Object:
    base: Object = {
        "model": {"trainingJob": {"name": job}},
        "replicas": 1,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "2Gi"}},
    }
    return {
        "apiVersion": "leyden.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def code(**files: str) -> Object:
    """A ConfigMap with Python modules: the digits example and what the test adds."""
    digits = (EXAMPLES / "digits" / "digits.py").read_text()
    data = {"digits.py": digits, **{f"{name}.py": text for name, text in files.items()}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": data}


def checkpoints() -> Object:
    """A claim that several nodes may mount."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "checkpoints"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
