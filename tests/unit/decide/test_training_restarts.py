"""Workers that go and come: what is told, booked and counted."""

from datetime import timedelta
from typing import Any

import pytest

from leyden_contract.wire import Booking, Cause, Failure, RunPhase
from leyden_operator.api import TrainingJob
from unit.decide.cluster import (
    START,
    Cluster,
    booked,
    failure,
    reason,
    report,
    running,
    training_job,
)


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


def lose(cluster: Cluster, *names: str) -> None:
    """What Kubernetes says of pods on a node that went silent, once they are told to go."""
    for name in names:
        pod = cluster.pod(name)
        pod["metadata"]["deletionTimestamp"] = (cluster.now + timedelta(seconds=30)).isoformat()
        pod["status"] = {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "False"},
                {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"},
            ],
            "containerStatuses": [{"state": {"running": {"startedAt": START.isoformat()}}}],
        }


def test_a_lost_coordinator_means_a_new_attempt_that_waits_for_no_pod_of_the_lost_node() -> None:
    cluster = running()
    lose(cluster, "digits-0-coordinator", "digits-0-worker-2")
    cluster.coordinator = None
    cluster.look()
    assert cluster.job.status.attempt == 1
    assert cluster.job.status.restarts.by_cause.NodeLost == 1
    cluster.settle()
    assert cluster.pods() == ["digits-0-worker-2", "digits-1-worker-0", "digits-1-worker-1", "digits-1-worker-2"]
    assert cluster.job.status.restarts.by_cause.NodeLost == 1, "booked once"


def test_a_coordinator_that_is_deleted_on_a_node_that_answers_is_replaced_in_its_attempt() -> None:
    cluster = running()
    pod = cluster.pod("digits-0-coordinator")
    pod["metadata"]["deletionTimestamp"] = (cluster.now + timedelta(seconds=10)).isoformat()
    cluster.look()
    del cluster.objects["Pod", "digits-0-coordinator"]
    cluster.look()
    assert cluster.job.status.attempt == 0 and cluster.pods("coordinator") == ["digits-0-coordinator"]


def test_suspending_does_not_wait_for_a_lost_node() -> None:
    cluster = running()
    cluster.job = training_job(status=cluster.job.status.to_json(), suspend=True)
    lose(cluster, "digits-0-worker-2")
    for name in ("digits-0-worker-0", "digits-0-worker-1"):
        cluster.end(name, 0)
    cluster.settle()
    assert cluster.job.status.phase == "Suspended"
