"""The CRDs on a real kube-apiserver: each rule takes one object and refuses another.

A refusal names the field, the value given and what is allowed.
"""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from leyden_cluster.apiserver import ApiServer, start_apiserver

pytestmark = pytest.mark.api
ROOT = Path(__file__).parents[2]
CLAIM: dict[str, Any] = {"storage": {"persistentVolumeClaim": {"claimName": "c", "path": "p"}}}
MODULE = {"module": {"model": "digits:LitDigits", "config": {"model": {"lr": 0.1, "deep": {"a": 1}}}}}
VOLUME = {"name": "data", "mountPath": "/data", "emptyDir": {}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    found = start_apiserver(tmp_path_factory.mktemp("apiserver"))
    try:
        kubectl(found, "apply", "--server-side", "-f", str(ROOT / "crds"))
        kubectl(found, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield found
    finally:
        found.stop()


def kubectl(server: ApiServer, *arguments: str) -> str:
    """Standard output of kubectl."""
    command = [server.kubectl, f"--kubeconfig={server.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def job(name: str = "digits", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "leyden.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"run": MODULE, **spec},
    }


def service(name: str = "digits", select: Any = "best", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "leyden.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": {"trainingJob": {"name": "digits", "select": select}}, **spec},
    }


def apply(server: ApiServer, body: dict[str, Any], *options: str) -> str:
    """Standard error of kubectl; empty where the object was taken."""
    command = [server.kubectl, f"--kubeconfig={server.kubeconfig}", "apply", "--server-side", *options, "-f", "-"]
    done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        pytest.param(job("a" * 40), job("a" * 41), ["metadata.name", "a" * 41, "at most 40"], id="name-length"),
        pytest.param(job("a-1"), job("1a"), ["metadata.name", "1a", "begin with a letter"], id="name-begins"),
        pytest.param(service("a-1"), service("a.b"), ["metadata.name", "a.b"], id="service-name"),
        pytest.param(
            job(nodes={"min": 2, "max": 2}),
            job(nodes={"min": 3, "max": 2}),
            ["nodes.min is 3", "nodes.max, 2"],
            id="min-max",
        ),
        pytest.param(job(nodes={"max": 1000}), job(nodes={"max": 10**9}), ["nodes.max", "1000"], id="too-many-nodes"),
        pytest.param(job(nodes={"min": 1}), job(nodes={"min": 0}), ["nodes.min", "0", "1"], id="no-nodes"),
        pytest.param(job(), job(run={}), ["exactly one of module, script", "neither"], id="nothing-to-run"),
        pytest.param(
            job(run={"script": {"path": "train.py"}}),
            job(run={**MODULE, "script": {"path": "train.py"}}),
            ["exactly one of module, script", "both"],
            id="module-and-script",
        ),
        pytest.param(
            job(run={"script": {"path": "/opt/train.py"}}),
            job(run={"script": {"path": "../x"}}),
            ["path", "../x"],
            id="path",
        ),
        pytest.param(
            job(run={**MODULE, "lightning": "leyden"}),
            job(run={**MODULE, "lightning": "mine"}),
            ["run.lightning", "mine", "installed", "leyden"],
            id="lightning",
        ),
        pytest.param(job(processesPerNode=4), job(processesPerNode=0), ["processesPerNode", "not 0"], id="no-process"),
        pytest.param(
            job(processesPerNode="auto"), job(processesPerNode="some"), ["auto or a number", "not some"], id="processes"
        ),
        pytest.param(
            job(checkpoint={**CLAIM, "every": {"steps": 5}}),
            job(checkpoint={**CLAIM, "every": {"steps": 5, "epochs": 1}}),
            ["one of epochs, steps, minutes", "epochs steps are given"],
            id="two-intervals",
        ),
        pytest.param(
            job(checkpoint={**CLAIM, "resume": {"mode": "never"}}),
            job(checkpoint={**CLAIM, "resume": {"mode": "never", "trainingJob": "x"}}),
            ["mode, trainingJob", "never"],
            id="resume-two-ways",
        ),
        pytest.param(
            job(checkpoint={**CLAIM, "resume": {"trainingJob": "x", "select": 12}}),
            job(checkpoint={**CLAIM, "resume": {"select": 12}}),
            ["resume.select is 12", "beside trainingJob"],
            id="select-of-nothing",
        ),
        pytest.param(
            job(env=[{"name": "A", "value": "1"}]),
            job(env=[{"name": "RANK", "value": "1"}]),
            ["env name RANK", "not allowed"],
            id="reserved-env",
        ),
        pytest.param(
            job(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            job(env=[{"name": "A"}]),
            ["env A", "exactly one of value, valueFrom", "neither"],
            id="env-without-value",
        ),
        pytest.param(
            job(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}}]),
            job(env=[{"name": "A", "valueFrom": {}}]),
            ["secretKeyRef, configMapKeyRef", "neither"],
            id="env-from-nothing",
        ),
        pytest.param(
            job(volumes=[VOLUME]),
            job(volumes=[{**VOLUME, "secret": {"secretName": "s"}}]),
            ["volume data", "exactly one of"],
            id="volume-of-two-kinds",
        ),
        pytest.param(
            job(volumes=[VOLUME]),
            job(volumes=[{**VOLUME, "mountPath": "/checkpoints/x"}]),
            ["volume data", "/checkpoints/x", "taken"],
            id="mount-path-taken",
        ),
        pytest.param(
            job(volumes=[VOLUME]),
            job(volumes=[{**VOLUME, "mountPath": "/a/../b"}]),
            ["mountPath", "/a/../b"],
            id="mount-dots",
        ),
        pytest.param(
            job(resources={"limits": {"cpu": 1, "nvidia.com/gpu": "2"}}),
            job(resources={"limits": {"cpu": "many"}}),
            ["resources.limits.cpu", "many"],
            id="quantity",
        ),
        pytest.param(service(select="latest"), service(select="newest"), ["best, latest", "not newest"], id="select"),
        pytest.param(service(select=1200), service(select=-1), ["step of a checkpoint", "not -1"], id="step"),
        pytest.param(
            job(checkpoint={**CLAIM, "export": ["exported", "onnx", "torchscript"]}),
            job(checkpoint={**CLAIM, "export": ["tensorrt"]}),
            ["checkpoint.export[0]", "tensorrt", '"exported", "onnx", "torchscript"'],
            id="export",
        ),
        pytest.param(
            job(checkpoint={**CLAIM, "export": ["onnx"]}),
            job(checkpoint={**CLAIM, "export": ["onnx", "onnx"]}),
            ["checkpoint.export", "duplicate", "onnx"],
            id="export-twice",
        ),
        pytest.param(
            service(model={"trainingJob": {"name": "digits"}, "format": "exported"}),
            service(model={"trainingJob": {"name": "digits"}, "format": "pickle"}),
            ["model.format", "pickle", '"auto", "checkpoint", "exported"'],
            id="format",
        ),
        pytest.param(service(replicas=0), service(replicas=101), ["replicas", "101", "100"], id="replicas"),
        pytest.param(
            service(server={"workers": 2}), service(server={"workers": 65}), ["1 to 64", "not 65"], id="workers"
        ),
    ],
)
def test_rule_takes_one_and_refuses_another(
    server: ApiServer, good: dict[str, Any], bad: dict[str, Any], words: list[str]
) -> None:
    assert apply(server, good, "--dry-run=server") == ""
    refusal = apply(server, bad, "--dry-run=server")
    assert refusal and [word for word in words if word not in refusal] == [], refusal


FULL = job(
    "frozen", image="i", source={"configMap": {"name": "code"}}, checkpoint=CLAIM, volumes=[VOLUME],
    env=[{"name": "A", "value": "1"}],
)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"nodes": {"min": 1, "max": 5}}, id="nodes"),
        pytest.param({"suspend": True}, id="suspend"),
        pytest.param({"restarts": {"max": 7}}, id="restarts"),
        pytest.param({"activeDeadlineSeconds": 9}, id="deadline"),
        pytest.param({"ttlSecondsAfterFinished": 9}, id="time-to-live"),
    ],
)
def test_what_may_change_may_change(server: ApiServer, change: dict[str, Any]) -> None:
    assert apply(server, FULL) == ""
    assert apply(server, {**FULL, "spec": {**FULL["spec"], **change}}, "--dry-run=server") == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("image", "j", id="image"),
        pytest.param("source", {"configMap": {"name": "other"}}, id="source"),
        pytest.param("run", {"module": {"model": "other:Lit"}}, id="run"),
        pytest.param(
            "run",
            {"module": {**MODULE["module"], "config": {"model": {"lr": 0.1, "deep": {"a": 2}}}}},
            id="run-config",
        ),
        pytest.param("processesPerNode", 2, id="processes"),
        pytest.param("resources", {"limits": {"cpu": "2"}}, id="resources"),
        pytest.param("checkpoint", {**CLAIM, "every": {"steps": 5}}, id="checkpoint"),
        pytest.param("scheduling", {"gang": "none"}, id="scheduling"),
        pytest.param("placement", {"spread": "none"}, id="placement"),
        pytest.param("volumes", [{**VOLUME, "mountPath": "/b"}], id="volumes"),
        pytest.param("env", [{"name": "A", "value": "2"}], id="env"),
    ],
)
def test_what_may_not_change_is_refused_with_what_to_do(server: ApiServer, field: str, value: Any) -> None:
    assert apply(server, FULL) == ""
    changed = deepcopy(FULL)
    changed["spec"][field] = value
    refusal = apply(server, changed, "--dry-run=server")
    assert f"spec.{field} cannot be changed" in refusal
    assert "create a new job" in refusal


@pytest.mark.parametrize(
    ("short", "body", "header"),
    [
        pytest.param("tj", job("shown"), "NAME PHASE NODES PROGRESS ETA METRIC AGE", id="job"),
        pytest.param("lisvc", service("shown"), "NAME READY URL MODEL TRAFFIC AGE", id="service"),
    ],
)
def test_columns_are_never_blank_even_before_the_operator_looked(
    server: ApiServer, short: str, body: dict[str, Any], header: str
) -> None:
    assert apply(server, body) == ""
    head, row = kubectl(server, "get", short, "shown").strip().splitlines()
    assert head.split() == header.split()
    assert len(row.split()) == len(header.split())
    assert "shown" in kubectl(server, "get", "leyden")
