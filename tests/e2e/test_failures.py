"""What a user's mistakes and the cluster's troubles look like in the status."""

import pytest

from e2e.kube import Cluster, Object, checkpoints, code, config, training_job
from leyden_quickstart.kubernetes import condition

BROKEN = """
from digits import DigitsData, LitDigits


class Raises(LitDigits):
    def training_step(self, batch, batch_idx):
        raise ValueError("the loss is made of cheese")


class Hungry(LitDigits):
    def training_step(self, batch, batch_idx):
        self.eaten = [bytearray(2**28) for _ in range(64)]
        return super().training_step(batch, batch_idx)
"""

IMPORTS_NOTHING = "import a_module_that_does_not_exist"


def run(model: str, data: str = "digits:DigitsData") -> Object:
    return {"module": {"model": model, "data": data, "config": config()}}


def failed(cluster: Cluster, job: Object, seconds: float = 180) -> Object:
    cluster.apply(code(broken=BROKEN, importer=IMPORTS_NOTHING), checkpoints(), job)
    return cluster.wait_condition("trainingjob", job["metadata"]["name"], "Failed", seconds=seconds)


@pytest.mark.parametrize(
    "model, message",
    [
        pytest.param("digitz:LitDigits", "digitz", id="unknown-module"),
        pytest.param("importer:Model", "a_module_that_does_not_exist", id="import-inside-the-module"),
    ],
)
def test_a_module_that_cannot_be_imported_fails_at_once(cluster: Cluster, model: str, message: str) -> None:
    job = failed(cluster, training_job("job", run=run(model)))
    assert job["status"]["lastFailure"]["reason"] == "ModuleNotFound"
    assert message in job["status"]["lastFailure"]["message"]
    assert job["status"].get("restarts", {}).get("counted", 0) <= 1


def test_an_exception_uses_up_the_budget_and_names_the_first_failing_rank(cluster: Cluster) -> None:
    job = failed(cluster, training_job("job", run=run("broken:Raises"), restarts={"max": 1}))
    failure = job["status"]["lastFailure"]
    assert failure["reason"] == "ValueError" and "the loss is made of cheese" in failure["message"]
    assert failure["exitCode"] == 1 and failure["rank"] in (0, 1)
    assert job["status"]["restarts"]["byCause"]["Failure"] == 2


def test_an_oom_kill_is_called_so(cluster: Cluster) -> None:
    job = failed(
        cluster, training_job("job", run=run("broken:Hungry"), restarts={"max": 0}, nodes={"min": 1, "max": 1})
    )
    assert job["status"]["lastFailure"]["reason"] == "OOMKilled"


@pytest.mark.parametrize(
    "there, lacking, reason",
    [
        pytest.param(checkpoints(), code(), "ConfigMapNotFound", id="code"),
        pytest.param(code(), checkpoints(), "PersistentVolumeClaimNotFound", id="claim"),
    ],
)
def test_a_job_waits_for_what_it_names_and_goes_on_by_itself(
    cluster: Cluster, there: Object, lacking: Object, reason: str
) -> None:
    cluster.apply(there, training_job("job"))
    waiting = cluster.wait_condition("trainingjob", "job", "Accepted", "False", 30)
    found = condition(waiting, "Accepted")
    assert found["reason"] == reason and lacking["metadata"]["name"] in found["message"]
    cluster.apply(lacking)
    cluster.wait_condition("trainingjob", "job", "Succeeded", seconds=180)


def test_an_image_that_does_not_exist_is_named_in_a_condition(cluster: Cluster) -> None:
    cluster.apply(code(), checkpoints(), training_job("job", image="localhost/leyden/no-such-image:1"))

    def named(job: Object) -> bool:
        return "no-such-image" in condition(job, "Scheduled").get("message", "") + condition(job, "Running").get(
            "message", ""
        )

    cluster.wait("trainingjob", "job", named, 60)


def test_a_refusal_names_field_value_and_what_is_allowed(cluster: Cluster) -> None:
    from leyden_quickstart.console import StepFailed

    with pytest.raises(StepFailed, match=r"nodes.*min.*4.*max.*2|nodes.*4.*2"):
        cluster.apply(training_job("job", nodes={"min": 4, "max": 2}))
