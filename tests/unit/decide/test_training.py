"""How a training job ends, stops and goes on; and whatever happens, plans converge."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from leyden_contract.wire import Cause, RunPhase
from leyden_operator.api import Json, TrainingJob
from unit.decide.cluster import (
    START,
    Cluster,
    booked,
    reason,
    report,
    running,
)


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


def test_the_coordinator_is_told_which_checkpoints_services_use() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "checkpoints", "path": "digits"}}
    cluster = running(checkpoint={"storage": claim})
    assert cluster.told is not None and cluster.told.served == ()

    def used(digest: str, directory: str = "digits", claim: str = "checkpoints") -> Json:
        return {"digest": digest, "claimName": claim, "directory": directory}

    services = (
        {"status": {"stable": used("sha256:1"), "target": used("sha256:2")}},
        {"status": {"stable": used("sha256:2"), "target": used("sha256:2")}},
        {"status": {"stable": used("sha256:3", directory="other"), "target": used("sha256:4", claim="other")}},
        {"status": {"target": used("sha256:5")}},
        {},
    )
    cluster.observed = {"services": services}
    cluster.look()
    assert cluster.told.served == ("sha256:1", "sha256:2", "sha256:5")
