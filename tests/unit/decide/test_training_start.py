"""How a training job starts, what it waits for, and what it shows."""

from typing import Any

import pytest

from leyden_operator.api import TrainingJob
from leyden_operator.decide import Observed, Reference, Refusal, decide_training
from unit.decide.cluster import (
    SETTINGS,
    START,
    Cluster,
    checkpoints,
    progress,
    reason,
    report,
    running,
    training_job,
)

PVC = {"storage": {"persistentVolumeClaim": {"claimName": "checkpoints", "path": "digits"}}}


def test_first_look_makes_everything_and_sets_all_conditions() -> None:
    cluster = Cluster(training_job())
    plan = cluster.look()
    assert [child["kind"] for child in plan.apply] == ["Service", "NetworkPolicy", "Pod", "Pod", "Pod", "Pod"]
    assert cluster.pods() == [f"digits-0-worker-{index}" for index in range(3)]
    assert [condition.type for condition in cluster.job.status.conditions] == [
        *("Accepted", "Scheduled", "Running", "Suspended", "Succeeded", "Failed")
    ]


def test_gang_is_used_where_the_api_server_has_it() -> None:
    cluster = Cluster(training_job(), observed={"pod_groups": True})
    cluster.look()
    group = cluster.objects[("PodGroup", "digits-0")]
    assert group["spec"] == {"schedulingPolicy": {"gang": {"minCount": 2}}}
    assert cluster.pod("digits-0-worker-0")["spec"]["schedulingGroup"] == {"podGroupName": "digits-0"}


def test_the_gang_follows_the_minimum_that_is_asked_for() -> None:
    cluster = Cluster(training_job(), observed={"pod_groups": True})
    cluster.look()
    for least in (3, 1):
        whole = cluster.job.model_dump(by_alias=True)
        whole["spec"]["nodes"]["min"] = least
        cluster.job = TrainingJob.model_validate(whole)
        assert [child["kind"] for child in cluster.look().apply] == ["PodGroup"]
        assert cluster.objects[("PodGroup", "digits-0")]["spec"]["schedulingPolicy"]["gang"]["minCount"] == least
    assert not cluster.look().apply


@pytest.mark.parametrize(
    ("spec", "observed", "want", "words"),
    [
        pytest.param(
            {"source": {"configMap": {"name": "code"}}},
            {"missing": frozenset({Reference("ConfigMap", "code")})},
            "ConfigMapNotFound",
            "ConfigMap code does not exist",
            id="missing-config-map",
        ),
        pytest.param(
            {"checkpoint": PVC},
            {"missing": frozenset({Reference("PersistentVolumeClaim", "checkpoints")})},
            "PersistentVolumeClaimNotFound",
            "PersistentVolumeClaim checkpoints does not exist",
            id="missing-claim",
        ),
        pytest.param(
            {"scheduling": {"gang": "kubernetes"}}, {}, "GangUnavailable", "auto or none is allowed", id="no-pod-groups"
        ),
        pytest.param(
            {"checkpoint": {**PVC, "resume": {"trainingJob": "other"}}},
            {"missing": frozenset({Reference("TrainingJob", "other")})},
            "ResumeSourceNotFound",
            "training job other has no checkpoint best",
            id="resume-source-missing",
        ),
    ],
)
def test_what_is_missing_holds_the_job_until_it_appears(
    spec: dict[str, Any], observed: dict[str, Any], want: str, words: str
) -> None:
    cluster = Cluster(training_job(**spec), observed=observed)
    plan = cluster.look()
    assert not plan.apply
    assert reason(cluster.job, "Accepted") == want
    assert words in cluster.job.status.conditions[0].message
    assert [event.reason for event in plan.events] == [want]
    assert plan.look_again_after is not None


def test_job_goes_on_by_itself_when_what_was_missing_appears() -> None:
    missing = frozenset({Reference("ConfigMap", "code")})
    cluster = Cluster(training_job(source={"configMap": {"name": "code"}}), observed={"missing": missing})
    cluster.look()
    cluster.observed = {}
    cluster.look()
    assert len(cluster.pods()) == 3


@pytest.mark.parametrize("why", ["QuotaExceeded", "PodRefused"])
def test_refused_pods_are_a_condition_with_the_reason(why: Any) -> None:
    seen = Observed(refusals=(Refusal("Pod", "digits-0-worker-0", why, "the API server said no"),))
    plan = decide_training(training_job(), seen, None, SETTINGS, START)
    scheduled = plan.status["conditions"][1]
    assert (scheduled["reason"], scheduled["message"]) == (why, "the API server said no")


def test_child_of_a_former_job_of_the_same_name_is_not_adopted() -> None:
    former = Cluster(training_job())
    former.look()
    other = former.job.model_dump(by_alias=True)
    again = TrainingJob.model_validate({**other, "metadata": {**other["metadata"], "uid": "new-uid"}, "status": {}})
    cluster = Cluster(again, objects=former.objects)
    plan = cluster.look()
    assert not plan.apply and not plan.delete
    assert reason(cluster.job, "Accepted") == "NameConflict"


def test_image_and_node_problems_are_named() -> None:
    cluster = Cluster(training_job())
    cluster.look()
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    for name in cluster.pods():
        cluster.pod(name)["status"] = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
    cluster.look()
    assert reason(cluster.job, "Scheduled") == "ImagePullFailed"
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    for name in cluster.pods():
        cluster.pod(name)["status"] = {"phase": "Pending", "conditions": [full]}
    plan = cluster.look()
    assert reason(cluster.job, "Scheduled") == "Unschedulable"
    assert plan.membership is None


def test_running_job_shows_progress_and_no_blank_column() -> None:
    cluster = running(checkpoint={**PVC, "monitor": {"metric": "val_loss"}})
    cluster.coordinator = report(progress=progress(40), checkpoints=checkpoints(30))
    cluster.look()
    status = cluster.job.status
    assert (status.phase, status.summary.nodes, status.summary.progress, status.summary.eta) == (
        *("Running", "3/3"),
        *("40%", "1m5s"),
    )
    assert all(status.summary.model_dump().values())
    assert status.checkpoints.latest and status.checkpoints.latest.path == "step-000000000030"


def test_numbers_that_json_cannot_hold_are_left_out() -> None:
    cluster = running()
    told = progress(40).model_copy(update={"metrics": {"a": float("nan"), "b": 1.0}, "remaining_seconds": float("inf")})
    cluster.coordinator = report(progress=told)
    seen = cluster.look().status["progress"]
    assert seen["metrics"] == {"b": 1.0}
    assert "remainingSeconds" not in seen
