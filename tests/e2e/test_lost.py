"""What goes missing while a job trains: a node, the operator, the job itself."""

from collections.abc import Callable

import pytest

from e2e.disturbances import OPERATOR, dead, no_operator
from e2e.elastic_job import SLOW, long_job, newest_checkpoint, ready_nodes, restarts, step_of
from e2e.kube import Cluster, Object, checkpoints, code, training_job

pytestmark = pytest.mark.alone


def nodes_of(pods: list[Object]) -> set[str]:
    return {pod["spec"]["nodeName"] for pod in pods}


def train(cluster: Cluster, epochs: int, minimum: int = 1) -> None:
    """A job of three pods that trains and has committed a checkpoint."""
    cluster.apply(code(slow=SLOW), checkpoints(), long_job("job", minimum, 3, epochs))
    cluster.wait("trainingjob", "job", lambda job: newest_checkpoint(job) > 0 and ready_nodes(job) == 3, 180)


def the_operators(cluster: Cluster) -> str:
    """A worker is on it too, for there is one on each node."""
    return nodes_of(cluster.listed("pods", OPERATOR[-1], *OPERATOR[:2])).pop()


def the_coordinators(cluster: Cluster) -> str:
    return nodes_of(cluster.listed("pods", "leyden.dev/role=coordinator")).pop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "choose",
    [pytest.param(the_operators, id="of-the-operator"), pytest.param(the_coordinators, id="of-the-coordinator")],
)
def test_a_lost_node_costs_at_most_the_steps_since_a_checkpoint(
    cluster: Cluster, choose: Callable[[Cluster], str]
) -> None:
    train(cluster, epochs=200)
    before = newest_checkpoint(cluster.get("trainingjob", "job"))
    node = choose(cluster)
    with dead(node):
        gone_on = cluster.wait(
            "trainingjob",
            "job",
            lambda job: newest_checkpoint(job) > before and ready_nodes(job) == 3 and bool(restarts(job)),
            300,
        )
        assert node not in nodes_of(cluster.workers("job"))
        assert step_of(gone_on) >= before
        assert set(restarts(gone_on)) == {"NodeLost"}
        assert gone_on["status"]["restarts"]["counted"] == 0


@pytest.mark.timeout(600)
def test_training_goes_on_without_the_operator_which_books_all_of_it_later(cluster: Cluster) -> None:
    train(cluster, epochs=30)
    first = cluster.workers("job")[0]["metadata"]["name"]
    with no_operator(cluster):
        cluster.delete("pod", first, "--wait=false")
        survivor = cluster.workers("job")[-1]["metadata"]["name"]
        cluster.kubectl.run("wait", "pod", survivor, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=240s")
    done = cluster.wait_condition("trainingjob", "job", "Succeeded", seconds=60)
    assert step_of(done) == done["status"]["progress"]["totalSteps"] == newest_checkpoint(done)
    assert restarts(done) == {"Preemption": 1}


def test_a_job_recreated_under_its_name_without_an_operator_is_another_job(cluster: Cluster) -> None:
    train(cluster, epochs=200)
    old = cluster.get("trainingjob", "job")
    with no_operator(cluster):
        cluster.delete("trainingjob", "job")
        cluster.apply(training_job("job", checkpoint=old["spec"]["checkpoint"] | {"resume": {"mode": "never"}}))
    done = cluster.wait_condition("trainingjob", "job", "Succeeded", seconds=180)
    assert done["metadata"]["uid"] != old["metadata"]["uid"]
    assert step_of(done) == done["status"]["progress"]["totalSteps"] and restarts(done) == {}
    owners = {owner["uid"] for pod in cluster.listed("pods") for owner in pod["metadata"]["ownerReferences"]}
    assert owners == {done["metadata"]["uid"]}
