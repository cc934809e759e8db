"""The operator on a real API server: what it makes, what it leaves alone, and what survives its end."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.conftest import Api, Object, Operator, condition, running_operator
from chart.rendering import operator_rules, render

pytestmark = pytest.mark.api

CODE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"m.py": ""}}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "checkpoints"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}
WORKERS = "leyden.dev/role=worker"


def job(name: str = "job", **spec: Any) -> Object:
    base: Object = {
        "source": {"configMap": {"name": "code"}},
        "run": {"module": {"model": "m:M"}},
        "nodes": {"min": 1, "max": 2},
        "checkpoint": {"storage": {"persistentVolumeClaim": {"claimName": "checkpoints", "path": name}}},
    }
    return {
        "apiVersion": "leyden.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def service(name: str = "service") -> Object:
    return {
        "apiVersion": "leyden.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"model": {"trainingJob": {"name": "job"}}},
    }


def play_kubelet(api: Api) -> None:
    """Every pod runs and is ready."""
    for pod in api.list("pods"):
        status: Object = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        api.patch_status(
            "pod", pod["metadata"]["name"], {**status, "conditions": [{"type": "Ready", "status": "True"}]}
        )


def workers(api: Api) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in api.list("pods", WORKERS))


def started(api: Api, **spec: Any) -> None:
    """A job whose pods are all there."""
    api.apply(CODE, CLAIM, job(**spec))
    api.wait("two workers", lambda: len(workers(api)) == 2)


def test_a_job_gets_its_children_and_a_status_that_is_not_blank(api: Api, operator: Operator) -> None:
    started(api)
    assert workers(api) == ["job-0-worker-0", "job-0-worker-1"]
    kinds = {item["kind"] for item in api.list("pods,services,networkpolicies", "leyden.dev/training-job=job")}
    assert kinds == {"Pod", "Service", "NetworkPolicy"}
    assert api.get("pod", "job-0-coordinator")
    seen = api.wait("a phase", lambda: api.get("trainingjob", "job").get("status", {}).get("phase"))
    assert seen
    row = api.run("get", "trainingjobs", "--no-headers").split()
    assert len(row) == 7 and "<none>" not in row, row


def test_nothing_of_ours_is_on_the_objects_but_their_status(api: Api, operator: Operator) -> None:
    """The proof behind ADR 0001: kopf's ``on.event`` leaves no finalizer and no annotation."""
    for each in (CODE, CLAIM, job(), service()):
        api.run("create", "-f", "-", stdin=json.dumps(each))
    api.wait("workers", lambda: len(workers(api)) == 2)
    api.wait("a status", lambda: api.get("inferenceservice", "service").get("status", {}).get("url"))
    for each in api.list("trainingjobs,inferenceservices,pods"):
        assert "finalizers" not in each["metadata"] and "annotations" not in each["metadata"], each["metadata"]


def test_looking_again_changes_nothing(api: Api, operator: Operator) -> None:
    started(api)
    play_kubelet(api)

    def versions() -> dict[str, str]:
        listed = api.list("trainingjobs,pods,services,networkpolicies,podgroups")
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in listed}

    def settled() -> bool:
        before, count = versions(), operator.metric("leyden_reconciliations_total")
        api.wait("two more looks", lambda: operator.metric("leyden_reconciliations_total") >= count + 2)
        return versions() == before

    api.wait("two looks in a row that write nothing", settled)
    assert settled()


def test_a_job_waits_for_its_code_and_goes_on_by_itself(api: Api, operator: Operator) -> None:
    api.apply(CLAIM, job())
    waiting = api.wait(
        "a refusal", lambda: condition(api.get("trainingjob", "job"), "Accepted").get("status") == "False"
    )
    assert waiting
    found = condition(api.get("trainingjob", "job"), "Accepted")
    assert found["reason"] == "ConfigMapNotFound" and "code" in found["message"]
    assert not workers(api)
    api.apply(CODE)
    api.wait("workers", lambda: len(workers(api)) == 2)


def test_somebody_elses_pod_is_reported_and_left_alone(api: Api, operator: Operator) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "job-0-worker-0"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    api.apply(CODE, CLAIM, foreign)
    before = api.get("pod", "job-0-worker-0")["metadata"]
    api.apply(job())
    api.wait("the conflict", lambda: "NameConflict" in str(api.get("trainingjob", "job").get("status")))
    after = api.get("pod", "job-0-worker-0")["metadata"]
    assert after["uid"] == before["uid"] and "ownerReferences" not in after

    def settled() -> bool:
        version = api.get("trainingjob", "job")["metadata"]["resourceVersion"]
        count = operator.metric("leyden_reconciliations_total")
        api.wait("two more looks", lambda: operator.metric("leyden_reconciliations_total") >= count + 2)
        return bool(api.get("trainingjob", "job")["metadata"]["resourceVersion"] == version)

    api.wait("two looks in a row that write nothing", settled)


def test_a_job_that_is_deleted_takes_its_children_along_without_the_operator(api: Api, tmp_path: Path) -> None:
    with running_operator(api.server, tmp_path / "log"):
        started(api)
    api.run("delete", "trainingjob", "job", "--timeout=20s")
    api.run("delete", "pods", "--all", "--force", "--grace-period=0")
    api.wait("no children", lambda: not api.list("services,networkpolicies,pods", "leyden.dev/training-job=job"))


def test_a_job_made_again_under_its_name_is_another_job(api: Api, operator: Operator) -> None:
    started(api)
    first = {pod["metadata"]["uid"] for pod in api.list("pods")}
    api.run("delete", "trainingjob", "job", "--timeout=20s")
    api.apply(job())

    def replaced() -> bool:
        for pod in api.list("pods"):
            if pod["metadata"]["uid"] in first and "deletionTimestamp" in pod["metadata"]:
                # A pod without a kubelet ends only when somebody says that it did.
                api.run("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
        owners = {owner["uid"] for pod in api.list("pods", WORKERS) for owner in pod["metadata"]["ownerReferences"]}
        return len(workers(api)) == 2 and owners == {api.get("trainingjob", "job")["metadata"]["uid"]}

    api.wait("workers of the new job alone", replaced)


def test_killed_at_any_moment_it_goes_on_from_there(api: Api, tmp_path: Path) -> None:
    api.apply(CODE, CLAIM, job(nodes={"min": 2, "max": 5}), service())
    for made in range(4):
        with running_operator(api.server, tmp_path / "log") as operator:
            api.wait(f"{made} pods", lambda made=made: len(api.list("pods")) >= made)
            operator.process.kill()
    with running_operator(api.server, tmp_path / "log"):
        api.wait("five workers", lambda: len(workers(api)) == 5)
        assert workers(api) == [f"job-0-worker-{index}" for index in range(5)]
        assert api.get("trainingjob", "job")["status"]["attempt"] == 0


def test_a_service_says_what_it_waits_for(api: Api, operator: Operator) -> None:
    api.apply(service())
    api.wait("a reason", lambda: condition(api.get("inferenceservice", "service"), "UpToDate").get("reason"))
    assert condition(api.get("inferenceservice", "service"), "UpToDate")["reason"] == "TrainingJobNotFound"
    api.apply(CODE, CLAIM, job())
    api.wait(
        "the next reason",
        lambda: condition(api.get("inferenceservice", "service"), "UpToDate").get("reason") == "NoCheckpoint",
    )


def test_people_are_told_by_events(api: Api, operator: Operator) -> None:
    api.apply(CLAIM, job())
    api.wait(
        "an event",
        lambda: [event for event in api.list("events") if event["involvedObject"]["kind"] == "TrainingJob"],
    )


def test_probes_answer(operator: Operator) -> None:
    assert httpx.get(f"{operator.url}/healthz").text == "ok"
    assert "leyden_reconciliations_total" in httpx.get(f"{operator.url}/metrics").text


def test_every_call_that_it_made_is_granted_by_the_chart(api: Api, operator: Operator) -> None:
    """The session's operator has served all the tests above as an administrator; the chart grants less."""
    started(api)
    api.apply(service())
    api.wait("a status", lambda: api.get("inferenceservice", "service").get("status", {}).get("url"))
    made = {(group, resource, verb) for verb, group, resource in operator.calls()}
    assert made - operator_rules(render()) == set()
    assert {("", "pods", "create"), ("leyden.dev", "trainingjobs/status", "patch")} <= made
