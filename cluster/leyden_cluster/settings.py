"""Where things are and what they are called. Everything that two modules must agree on."""

import os
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "1.37.2"
"""Must be the version of ``k8s.io/kubernetes`` in ``cluster/go/go.mod``; a test compares them."""

MAX_NODES = 5
BRIDGE = "leyden0"
HOST_ADDRESS = "10.200.0.1"
"""Address of the machine on the nodes' network: the API server listens here."""
NODE_NETWORK = "10.200.0.0/24"
POD_NETWORK = "10.244.0.0/16"
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
S3_PORT = 7070
OWNER = Path("/run/leyden-cluster")
"""The lock of every command that changes a cluster; its content is the state folder of the one that is up."""
ADDONS_IMAGE = "localhost/leyden-cluster/addons:1"
"""pause, CoreDNS, metrics-server and the volume provisioner in one image."""

SOURCE = Path(__file__).resolve().parents[1] / "go"
MANIFESTS = Path(__file__).resolve().parent / "manifests"


def cache_directory() -> Path:
    """``$LEYDEN_CACHE``, default ``~/.cache/leyden``: what is expensive to make and outlives the cluster."""
    return Path(os.environ.get("LEYDEN_CACHE") or Path.home() / ".cache" / "leyden")


def state_directory() -> Path:
    """``$LEYDEN_CLUSTER_STATE``, default ``/var/lib/leyden-cluster``: what ``down`` removes."""
    return Path(os.environ.get("LEYDEN_CLUSTER_STATE") or "/var/lib/leyden-cluster").resolve()


def admin_kubeconfig() -> Path:
    """Where the administrator's kubeconfig is while the cluster is up."""
    return state_directory() / "pki" / "admin.kubeconfig"


@dataclass(frozen=True)
class Node:
    """One node: a network namespace with its own containerd, kubelet and kube-proxy."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"10.200.0.{10 + self.number}"

    @property
    def pod_network(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def namespace(self) -> str:
        """Name of the network namespace."""
        return f"leyden-{self.name}"

    @property
    def link(self) -> str:
        """The machine's end of the node's cable."""
        return f"leyden-n{self.number}"

    @property
    def cgroup(self) -> str:
        return f"leyden-{self.name}"

    @property
    def directory(self) -> Path:
        return state_directory() / self.name

    @property
    def socket(self) -> Path:
        return self.directory / "containerd.sock"


def node_named(name: str) -> Node:
    """The node of that name.

    Raises:
        ClusterError: the name is not ``node1`` to ``node5``.
    """
    nodes = {node.name: node for node in all_nodes()}
    if name not in nodes:
        raise ClusterError(f"There is no node {name!r}; nodes are called {', '.join(nodes)}.")
    return nodes[name]


def all_nodes() -> list[Node]:
    """Every node that there can be."""
    return [Node(number) for number in range(1, MAX_NODES + 1)]


class ClusterError(Exception):
    """Something the user can do something about, in one sentence."""
