"""A service answers while checkpoints change, requests are wrong, and its job goes away."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from e2e.elastic_job import SLOW, long_job, newest_checkpoint
from e2e.kube import EXAMPLES, Cluster, Object, checkpoints, code, inference_service, training_job
from e2e.load import Answers, load_log, steady_load
from leyden_quickstart.kubernetes import condition, is_true

IMAGE = json.loads((EXAMPLES / "digits" / "held-out.json").read_text())[0]["image"]


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON body and headers of ``POST /predict``."""
    request = urllib.request.Request(f"{url}/predict", body, {"content-type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read()), dict(response.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read()), dict(refused.headers)


def trained(cluster: Cluster) -> Object:
    cluster.apply(code(), checkpoints(), training_job("job"))
    return cluster.wait_condition("trainingjob", "job", "Succeeded", seconds=180)


def test_a_service_waits_for_its_job_and_the_first_checkpoint(cluster: Cluster) -> None:
    cluster.apply(inference_service("service", "job"))
    waiting = cluster.wait_condition("inferenceservice", "service", "Ready", "False", 30)
    assert condition(waiting, "UpToDate")["reason"] == "TrainingJobNotFound"
    job = trained(cluster)
    service = cluster.wait_condition("inferenceservice", "service", "Ready", seconds=180)
    assert service["status"]["stable"]["digest"] == job["status"]["checkpoints"]["best"]["digest"]


def test_answers_are_traceable_and_wrong_requests_are_named(cluster: Cluster) -> None:
    trained(cluster)
    cluster.apply(inference_service("service", "job"))
    service = cluster.wait_condition("inferenceservice", "service", "Ready", seconds=180)
    with cluster.kubectl.forward("service/service", 80) as url:
        status, said, headers = post(url, json.dumps({"inputs": [[IMAGE]]}).encode())
        assert status == 200 and len(said["outputs"][0]) == 10
        assert headers["x-leyden-digest"] == said["digest"] == service["status"]["stable"]["digest"]
        assert headers["x-leyden-step"] == str(said["step"])
        for body, code_, named in (
            (b"{", 422, "JSON"),
            (b'{"inputs": [[[1, 2], [3]]]}', 422, "inputs"),
            (b'{"inputs": []}', 422, "inputs"),
            (json.dumps({"inputs": [[[[float("nan")] * 8] * 8]]}).encode(), 422, "JSON"),
        ):
            refused, why, _ = post(url, body)
            assert 400 <= refused < 500 and refused <= code_ and named in json.dumps(why), (body, refused, why)


def test_a_deleted_job_goes_on_being_served(cluster: Cluster) -> None:
    trained(cluster)
    cluster.apply(inference_service("service", "job"))
    cluster.wait_condition("inferenceservice", "service", "Ready", seconds=180)
    cluster.delete("trainingjob", "job")
    after = cluster.wait_condition("inferenceservice", "service", "UpToDate", "False", 60)
    assert is_true(after, "Available")
    with cluster.kubectl.forward("service/service", 80) as url:
        assert post(url, json.dumps({"inputs": [[IMAGE]]}).encode())[0] == 200


@pytest.mark.timeout(600)
def test_rolling_to_newer_checkpoints_loses_no_request(cluster: Cluster) -> None:
    job = long_job("job", 1, 1, epochs=200)
    job["spec"]["checkpoint"]["keep"] = {"last": 16}  # they come faster than servers start
    cluster.apply(code(slow=SLOW), checkpoints(), job)
    cluster.apply(inference_service("service", "job", model={"trainingJob": {"name": "job", "select": "latest"}}))
    cluster.wait_condition("inferenceservice", "service", "Available", seconds=240)
    with steady_load(cluster, "service", {"inputs": [[IMAGE]]}) as answers:
        # The second of three has come and gone within the load.
        cluster.wait_until(
            lambda: len(Answers().add(load_log(cluster)).steps) > 2, 300, "answers from three checkpoints"
        )
    assert not answers.lost and answers.total > 100


@pytest.mark.timeout(600)
def test_retention_leaves_what_a_service_uses_for_as_long_as_it_does(cluster: Cluster) -> None:
    job = long_job("job", 1, 1, epochs=400)
    job["spec"]["checkpoint"]["keep"] = {"last": 8}
    cluster.apply(code(slow=SLOW), checkpoints(), job)
    chosen = newest_checkpoint(cluster.wait("trainingjob", "job", lambda job: newest_checkpoint(job) > 0, 240))
    model = {"trainingJob": {"name": "job", "select": chosen}}
    cluster.apply(inference_service("service", "job", model=model))
    cluster.wait_condition("inferenceservice", "service", "Ready", seconds=240)

    def outlived(job: Object) -> bool:
        found = job["status"]["checkpoints"]
        newer = [one["step"] for one in found["kept"] if one["step"] > chosen]
        return len(newer) >= 8 and found["best"]["step"] != chosen

    def there(job: Object) -> bool:
        return chosen in [one["step"] for one in job["status"]["checkpoints"]["kept"]]

    assert there(cluster.wait("trainingjob", "job", outlived, 240))
    (served,) = cluster.listed("pods", "leyden.dev/inference-service=service")
    cluster.delete("pod", served["metadata"]["name"])
    cluster.wait_condition("inferenceservice", "service", "Ready", seconds=240)
    with cluster.kubectl.forward("service/service", 80) as url:
        assert post(url, json.dumps({"inputs": [[IMAGE]]}).encode())[2]["x-leyden-step"] == str(chosen)
    cluster.delete("inferenceservice", "service")
    cluster.wait("trainingjob", "job", lambda job: not there(job), 120)
