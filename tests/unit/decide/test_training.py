from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden_contract.wire import Booking, Cause, Failure, RunPhase
from leyden_operator.api import TrainingJob
from leyden_operator.decide import Observed, Reference, Refusal, decide_training
from leyden_operator.decide.conditions import reason_of
from unit.decide.cluster import SETTINGS, START, Cluster, checkpoints, progress, report, training_job

PVC = {"storage": {"persistentVolumeClaim": {"claimName": "checkpoints", "path": "digits"}}}


def running(**spec: Any) -> Cluster:
    """A cluster in which the job trains on three nodes."""
    cluster = Cluster(training_job(**spec))
    cluster.look()
    cluster.coordinator = report()
    cluster.settle(2)
    return cluster


def reason(job: TrainingJob, condition: str) -> str:
    return reason_of(job.status.conditions, condition)


def failure(retryable: bool = True, message: str = "boom") -> Failure:
    return Failure(
        pod="digits-0-worker-1", pod_uid="u", round=0, rank=1, exit_code=1, reason="ValueError", message=message,
        at=START, retryable=retryable,
    )  # fmt: skip


def booked(cause: Cause, key: str, at: datetime = START) -> Booking:
    return Booking(key=key, cause=cause, at=at, reason="why")


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


def test_deleted_worker_is_drained_as_preempted_and_replaced_under_a_free_name() -> None:
    cluster = running()
    lost = cluster.pod("digits-0-worker-0")
    lost["metadata"]["deletionTimestamp"] = START.isoformat()
    plan = cluster.look()
    assert "digits-0-worker-0-r1" in cluster.pods()
    assert plan.membership and [gone.cause for gone in plan.membership.draining] == [Cause.PREEMPTION]
    assert lost["metadata"]["uid"] not in plan.membership.expected


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        pytest.param({"reason": "Evicted"}, Cause.PREEMPTION, id="evicted-by-the-kubelet"),
        pytest.param(
            {"conditions": [{"type": "DisruptionTarget", "reason": "DeletionByTaintManager"}]},
            Cause.NODE_LOST,
            id="node-gone",
        ),
        pytest.param({}, Cause.FAILURE, id="out-of-memory"),
    ],
)
def test_lost_pod_is_told_with_its_cause(status: dict[str, Any], cause: Cause) -> None:
    cluster = running()
    cluster.end("digits-0-worker-1", 137, "OOMKilled", **status)
    plan = cluster.look()
    assert plan.membership and [gone.cause for gone in plan.membership.lost] == [cause]


def test_out_of_memory_is_the_last_failure() -> None:
    cluster = running()
    cluster.end("digits-0-worker-1", 137, "OOMKilled")
    cluster.look()
    found = cluster.job.status.last_failure
    assert found and (found.pod, found.reason, found.exit_code) == ("digits-0-worker-1", "OOMKilled", 137)


def test_scaling_down_tells_the_coordinator_before_it_deletes() -> None:
    cluster = running()
    dump = cluster.job.model_dump(by_alias=True)
    dump["spec"]["nodes"]["max"] = 2
    cluster.job = TrainingJob.model_validate(dump)
    highest = cluster.pod("digits-0-worker-2")["metadata"]["uid"]
    plan = cluster.look()
    assert plan.membership and [(gone.pod_uid, gone.cause) for gone in plan.membership.draining] == [
        (highest, Cause.RESIZE)
    ]
    assert not plan.delete
    cluster.coordinator = report(nodes=2, ledger=(booked(Cause.RESIZE, f"pod-{highest}"),))
    cluster.look()
    assert cluster.pods() == ["digits-0-worker-0", "digits-0-worker-1"]
    assert cluster.job.status.restarts.by_cause.Resize == 1
    dump = cluster.job.model_dump(by_alias=True)
    dump["spec"]["nodes"]["max"] = 3
    cluster.job = TrainingJob.model_validate(dump)
    cluster.look()
    assert len(cluster.pods()) == 3


def test_each_booking_counts_once_also_across_a_new_coordinator() -> None:
    cluster = running()
    cluster.coordinator = report(ledger=(booked(Cause.FAILURE, "round-0"), booked(Cause.PREEMPTION, "pod-x")))
    cluster.settle(3)
    assert cluster.job.status.restarts.by_cause.model_dump() == {
        **{"Failure": 1, "Preemption": 1},
        **{"NodeLost": 0, "Resize": 0},
    }
    del cluster.objects[("Pod", "digits-0-coordinator")]
    cluster.coordinator = None
    cluster.settle(2)
    env = {
        item["name"]: item.get("value") for item in cluster.pod("digits-0-coordinator")["spec"]["containers"][0]["env"]
    }
    assert env["LEYDEN_RESTART_BUDGET"] == "2", "what was used up stays used up"
    cluster.coordinator = report(ledger=(booked(Cause.FAILURE, "round-0"),))
    cluster.settle(2)
    assert cluster.job.status.restarts.by_cause.Failure == 2


def test_failures_older_than_the_window_do_not_count() -> None:
    cluster = running(restarts={"max": 1, "windowSeconds": 60})
    cluster.coordinator = report(ledger=(booked(Cause.FAILURE, "round-0"),))
    cluster.look()
    assert cluster.job.status.restarts.counted == 1
    cluster.now += timedelta(seconds=61)
    cluster.look()
    assert cluster.job.status.restarts.counted == 0
    assert cluster.job.status.restarts.by_cause.Failure == 1


@pytest.mark.parametrize(
    ("ledger", "why", "want"),
    [
        pytest.param((), failure(retryable=False), "NotRetryable", id="not-retryable-fails-at-once"),
        pytest.param(
            tuple(booked(Cause.FAILURE, f"round-{n}") for n in range(4)), failure(), "RestartBudgetSpent", id="spent"
        ),
    ],
)
def test_failed_run_ends_the_job_with_the_cause(ledger: tuple[Booking, ...], why: Failure, want: str) -> None:
    cluster = running()
    cluster.coordinator = report(RunPhase.FAILED, ledger=ledger, first_failure=why)
    plan = cluster.look()
    assert reason(cluster.job, "Failed") == want
    assert cluster.job.status.phase == "Failed"
    assert cluster.job.status.last_failure and cluster.job.status.last_failure.message == "boom"
    assert any("ValueError: boom" in event.message for event in plan.events)


def test_failed_run_within_the_sliding_window_begins_a_new_attempt() -> None:
    cluster = running(restarts={"max": 1, "windowSeconds": 60})
    old = tuple(booked(Cause.FAILURE, f"round-{n}", START - timedelta(hours=n)) for n in range(2))
    cluster.coordinator = report(RunPhase.FAILED, ledger=old, first_failure=failure())
    plan = cluster.look()
    assert cluster.job.status.attempt == 1
    assert not plan.apply and not plan.delete, "the number is written before it is acted on"
    cluster.settle(3)
    assert cluster.pods() == [f"digits-1-worker-{index}" for index in range(3)]


def test_agent_that_never_joins_uses_up_the_budget_with_growing_pauses() -> None:
    cluster = Cluster(training_job(nodes={"min": 1, "max": 1}, restarts={"max": 2}))
    cluster.look()
    tries = 0
    while not cluster.job.status.completion_time and tries < 100:
        cluster.run_pods()
        for name in cluster.pods():
            if cluster.pod(name)["status"]["phase"] == "Running":
                tries += 1
                cluster.end(name, 1)
        cluster.now += timedelta(seconds=1)
        cluster.look()
    assert (tries, reason(cluster.job, "Failed")) == (3, "RestartBudgetSpent")


def test_finished_job_stays_finished_and_keeps_worker_pods_for_their_logs() -> None:
    cluster = running()
    cluster.coordinator = report(RunPhase.FINISHED)
    for name in cluster.pods():
        cluster.end(name, 0, "Completed")
    cluster.look()
    assert (cluster.job.status.phase, cluster.job.status.summary.progress) == ("Succeeded", "100%")
    cluster.coordinator = None
    cluster.settle(2)
    assert {kind for kind, _ in cluster.objects} == {"Pod"} and len(cluster.pods("")) == 3
    written = cluster.status_writes
    cluster.settle(3)
    assert cluster.status_writes == written


def test_time_to_live_removes_the_rest() -> None:
    cluster = running(ttlSecondsAfterFinished=100)
    cluster.coordinator = report(RunPhase.FINISHED)
    for name in cluster.pods():
        cluster.end(name, 0, "Completed")
    cluster.settle(2)
    cluster.now += timedelta(seconds=100)
    cluster.look()
    assert not cluster.objects


def test_all_workers_finished_is_enough_without_a_coordinator() -> None:
    cluster = running()
    for name in cluster.pods():
        cluster.end(name, 0, "Completed")
    cluster.coordinator = None
    cluster.look()
    assert cluster.job.status.phase == "Succeeded"


def test_deadline_ends_the_job() -> None:
    cluster = running(activeDeadlineSeconds=60)
    cluster.now += timedelta(seconds=61)
    cluster.look()
    assert reason(cluster.job, "Failed") == "DeadlineExceeded"
    cluster.look()
    assert not cluster.objects


def test_suspend_asks_for_a_checkpoint_then_gives_all_back_and_resumes_as_a_new_attempt() -> None:
    cluster = running()
    dump = cluster.job.model_dump(by_alias=True)
    dump["spec"]["suspend"] = True
    cluster.job = TrainingJob.model_validate(dump)
    plan = cluster.look()
    assert plan.membership and plan.membership.suspend and not plan.delete
    assert reason(cluster.job, "Suspended") == "Suspending"
    cluster.coordinator = report(RunPhase.SUSPENDED, nodes=0)
    cluster.settle(3)
    assert not cluster.objects
    assert cluster.job.status.phase == "Suspended"
    dump = cluster.job.model_dump(by_alias=True)
    dump["spec"]["suspend"] = False
    cluster.job = TrainingJob.model_validate(dump)
    cluster.coordinator = None
    cluster.settle(2)
    assert cluster.job.status.attempt == 1
    assert len(cluster.pods()) == 3


def test_job_that_is_being_deleted_is_left_alone() -> None:
    cluster = running()
    dump = cluster.job.model_dump(by_alias=True)
    dump["metadata"]["deletionTimestamp"] = START.isoformat()
    cluster.job = TrainingJob.model_validate(dump)
    cluster.objects.clear()
    assert not cluster.look().apply


MISHAPS = st.lists(
    st.tuples(st.sampled_from(["gone", "evicted", "oom", "coordinator", "shrink", "grow"]), st.integers(0, 2)),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(MISHAPS)
def test_whatever_happens_plans_converge_and_then_change_nothing(mishaps: list[tuple[str, int]]) -> None:
    cluster = running(restarts={"max": 100})
    for what, index in mishaps:
        befall(cluster, what, index)
        cluster.look()
    cluster.now += timedelta(minutes=10)
    cluster.settle(6)
    live = [name for name in cluster.pods() if cluster.pod(name)["status"]["phase"] == "Running"]
    assert len(live) == cluster.job.spec.nodes.max
    plan = cluster.look()
    assert not plan.apply and not plan.delete and not plan.events
    written = cluster.status_writes
    cluster.look()
    assert cluster.status_writes == written


def befall(cluster: Cluster, what: str, index: int) -> None:
    """Let something happen to the cluster."""
    cluster.run_pods()
    name = cluster.pods()[index % len(cluster.pods())]
    if what == "gone":
        del cluster.objects[("Pod", name)]
    elif what == "coordinator":
        cluster.objects.pop(("Pod", "digits-0-coordinator"), None)
    elif what in ("evicted", "oom"):
        cluster.end(name, 137, "OOMKilled", **({"reason": "Evicted"} if what == "evicted" else {}))
    else:
        dump = cluster.job.model_dump(by_alias=True)
        dump["spec"]["nodes"]["max"] = 2 if what == "shrink" else 3
        cluster.job = TrainingJob.model_validate(dump)
        surplus = [cluster.pod(pod) for pod in cluster.pods() if "worker-2" in pod]
        ledger = tuple(booked(Cause.RESIZE, f"pod-{pod['metadata']['uid']}") for pod in surplus)
        before = cluster.coordinator.ledger if cluster.coordinator else ()
        cluster.coordinator = report(ledger=(*before, *ledger))
