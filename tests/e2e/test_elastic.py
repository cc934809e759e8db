"""A job survives the loss of any worker and follows ``nodes`` while it trains."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.elastic_job import SLOW, long_job, newest_checkpoint, ready_nodes, restarts, step_of
from e2e.kube import Cluster, checkpoints, code
from leyden_quickstart.kubernetes import is_true


@contextmanager
def watched_steps(cluster: Cluster, name: str) -> Iterator[list[str]]:
    """Observes the job: no step may ever be below the newest checkpoint, and no checkpoint may go back."""
    broken: list[str] = []
    over = threading.Event()

    def watch() -> None:
        newest = 0
        while not over.wait(0.5):
            job = cluster.get("trainingjob", name)
            step, checkpoint = step_of(job), newest_checkpoint(job)
            if checkpoint < newest or (step and step < newest):
                broken.append(f"step {step}, checkpoint {checkpoint}, after checkpoint {newest}")
            newest = max(newest, checkpoint)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield broken
    finally:
        over.set()
        watcher.join()


@pytest.fixture
def training(cluster: Cluster) -> Cluster:
    """A job of three pods that trains and has committed a checkpoint."""
    cluster.apply(code(slow=SLOW), checkpoints(), long_job("job", 1, 3))
    cluster.wait("trainingjob", "job", lambda job: newest_checkpoint(job) > 0 and ready_nodes(job) == 3, 180)
    return cluster


def test_rank_0_deleted_is_a_non_event(training: Cluster) -> None:
    with watched_steps(training, "job") as broken:
        step = step_of(training.get("trainingjob", "job"))
        training.delete("pod", training.workers("job")[0]["metadata"]["name"], "--wait=false")
        training.wait("trainingjob", "job", lambda job: step_of(job) > step and ready_nodes(job) == 3, 90)
        done = training.wait_condition("trainingjob", "job", "Succeeded", seconds=300)
    assert not broken
    assert restarts(done) == {"Preemption": 1}
    assert done["status"]["restarts"]["counted"] == 0


def test_rank_0_killed_without_warning_costs_the_steps_since_the_checkpoint(training: Cluster) -> None:
    with watched_steps(training, "job") as broken:
        first = training.workers("job")[0]["metadata"]["name"]
        training.delete("pod", first, "--grace-period=0", "--force", "--wait=false")
        done = training.wait_condition("trainingjob", "job", "Succeeded", seconds=300)
    assert not broken
    assert restarts(done) == {"Preemption": 1}


def test_nodes_3_to_2_to_3_while_it_trains(training: Cluster) -> None:
    with watched_steps(training, "job") as broken:
        training.patch("trainingjob", "job", {"nodes": {"min": 1, "max": 2}})
        training.wait_until(lambda: len(training.workers("job")) == 2, 60, "two workers")
        smaller = training.wait("trainingjob", "job", lambda job: ready_nodes(job) == 2 and step_of(job) > 0, 60)
        training.patch("trainingjob", "job", {"nodes": {"min": 1, "max": 3}})
        training.wait("trainingjob", "job", lambda job: ready_nodes(job) == 3 and step_of(job) > step_of(smaller), 90)
        done = training.wait_condition("trainingjob", "job", "Succeeded", seconds=300)
    assert not broken
    assert restarts(done) == {"Resize": 2}


def test_suspend_keeps_a_checkpoint_and_resume_goes_on_from_it(training: Cluster) -> None:
    training.patch("trainingjob", "job", {"suspend": True})
    training.wait_condition("trainingjob", "job", "Suspended", seconds=90)
    training.wait_until(lambda: not training.workers("job"), 60, "no workers")
    kept = newest_checkpoint(training.get("trainingjob", "job"))
    training.patch("trainingjob", "job", {"suspend": False})
    resumed = training.wait("trainingjob", "job", lambda job: ready_nodes(job) == 3 and step_of(job) > kept, 120)
    assert restarts(resumed) == {}
    assert not is_true(resumed, "Suspended")
