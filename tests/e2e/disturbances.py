"""What tests take away for a while and give back."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.kube import Cluster
from leyden_quickstart.cluster import SYSTEM_NAMESPACE
from leyden_quickstart.processes import capture
from leyden_quickstart.target import tool

OPERATOR = ("-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/name=leyden")


@contextmanager
def dead(node: str) -> Iterator[None]:
    """The node is without power while the context lasts."""
    capture(tool("leyden_cluster", "kill-node", node))
    try:
        yield
    finally:
        capture(tool("leyden_cluster", "start-node", node))


@contextmanager
def no_operator(cluster: Cluster) -> Iterator[None]:
    """No operator runs while the context lasts."""
    cluster.kubectl.run("scale", "deployment", *OPERATOR, "--replicas=0")
    try:
        cluster.kubectl.run("wait", "pods", *OPERATOR, "--for=delete", "--timeout=60s")
        yield
    finally:
        cluster.kubectl.run("scale", "deployment", *OPERATOR, "--replicas=1")
        cluster.kubectl.run("rollout", "status", "deployment", *OPERATOR, "--timeout=120s")
