"""The cluster as a whole: up, down, status, and the failures that one may cause on purpose."""

import errno
import json
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from leyden_cluster import binaries as built
from leyden_cluster import distribution, images, mounts, network, node, prerequisites, processes, s3, state
from leyden_cluster.control_plane import ControlPlane
from leyden_cluster.processes import Component
from leyden_cluster.settings import (
    ADDONS_IMAGE,
    API_PORT,
    BRIDGE,
    DNS_ADDRESS,
    ETCD_PEER_PORT,
    ETCD_PORT,
    HOST_ADDRESS,
    MANIFESTS,
    S3_PORT,
    ClusterError,
    Node,
    admin_kubeconfig,
    all_nodes,
    state_directory,
)

Say = Callable[[str], None]
READY_SECONDS = 120.0
GONE_SECONDS = 10.0
NEEDED_GIGABYTES = 2
LEAVE_LOST_NODES = [
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for taint in ("not-ready", "unreachable")
]
"""Tolerations of the addons: the default leaves a cluster without DNS for five minutes."""


def plane() -> ControlPlane:
    directory = built.binaries().directory
    return ControlPlane(directory, state_directory(), HOST_ADDRESS, API_PORT, ETCD_PORT, ETCD_PEER_PORT)


def kubeconfig() -> Path:
    """Path of the administrator's kubeconfig.

    Raises:
        ClusterError: the cluster is not up.
    """
    path = admin_kubeconfig()
    if not path.exists():
        raise ClusterError("The cluster is not up: run `python3 -m leyden_cluster up`.")
    return path


def present_nodes() -> list[Node]:
    """Nodes that were made and not removed, running or not."""
    return [each for each in all_nodes() if (each.directory / "kubelet.json").exists()]


def running_nodes() -> list[Node]:
    """Nodes whose containerd runs."""
    if not present_nodes():
        return []
    control = plane()
    return [each for each in present_nodes() if processes.is_running(node.components(each, control)[0].record)]


def components(control: ControlPlane) -> list[Component]:
    """Every process of the cluster as it was asked for."""
    found = [control.etcd(), control.apiserver(), control.controller_manager(), control.scheduler()]
    for each in present_nodes():
        found += node.components(each, control)
    return found + ([s3.component(control.binaries)] if s3.credentials().exists() else [])


def up(count: int, with_s3: bool, say: Say) -> None:
    """Start the cluster, or repair and complete the one that runs."""
    prerequisites.check()
    state.check_folder()
    built.build(say)
    with state.locked():
        state.claim()
        _check_disk()
        control = plane()
        store = s3.component(control.binaries) if with_s3 or s3.credentials().exists() else None
        _check_ports(control, store)
        images.ensure_addons(built.binaries())
        nodes = sorted({*present_nodes(), *all_nodes()[:count]}, key=lambda each: each.number)
        say("network")
        network.set_up(nodes)
        for each in nodes:
            network.partition(each, heal=True)
        say("control plane")
        control.issue_certificates()
        for each in nodes:
            node.configure(each, control)
            images.clone_seed(each)
        _start_control_plane(control, nodes)
        if store:
            processes.start(store)
        _start_nodes(nodes, control)
        say("waiting for the nodes")
        _await_nodes(control, nodes)
        _check_alive(components(control))
        say("DNS, volumes and metrics")
        _apply_addons(control)


def _check_disk() -> None:
    free = shutil.disk_usage(state_directory()).free / 10**9
    if free < NEEDED_GIGABYTES:
        raise ClusterError(f"{state_directory()} has {free:.1f} GB free; a cluster needs {NEEDED_GIGABYTES} GB.")


def _check_ports(control: ControlPlane, store: Component | None) -> None:
    """A port that another program holds is named before anything starts."""
    for component, address, port in (
        (control.etcd(), "127.0.0.1", control.etcd_port),
        (control.etcd(), "127.0.0.1", control.etcd_peer_port),
        (control.apiserver(), control.address, control.port),
        *([(store, HOST_ADDRESS, S3_PORT)] if store else []),
    ):
        if processes.is_running(component.record):
            continue
        # The threads of a component that was killed a moment ago hold its port until the last of them has ended.
        patience = GONE_SECONDS if component.record.exists() else 0.0
        if not _gets_free(address, port, patience):
            raise ClusterError(f"{address}:{port} is in use by another program; {component.name} needs it.")


def _gets_free(address: str, port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _in_use(address, port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _in_use(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            # Any other error means that the address does not exist yet, so nobody listens there.
            return error.errno == errno.EADDRINUSE
    return False


def _start_control_plane(control: ControlPlane, nodes: list[Node]) -> None:
    processes.start(control.etcd())
    server = control.apiserver()
    processes.start(server)
    with ThreadPoolExecutor() as pool:
        started = [pool.submit(node.start_runtime, each, control) for each in nodes]
        await_apiserver(control)
        for future in started:
            future.result()
    # Each node has its pod network by its number, so nothing has to be allocated.
    processes.start(control.controller_manager("--allocate-node-cidrs=false"))
    processes.start(control.scheduler())


def await_apiserver(control: ControlPlane) -> None:
    """The API server answers that it is ready.

    Raises:
        ClusterError: it does not in time, with the end of its log.
    """
    deadline = time.monotonic() + READY_SECONDS
    admin = control.pki.path("admin.kubeconfig")
    kubectl = str(control.binaries / "kubectl")
    while not processes.succeeds(kubectl, f"--kubeconfig={admin}", "get", "--raw=/readyz"):
        for component in (control.etcd(), control.apiserver()):
            if not processes.is_running(component.record) or time.monotonic() > deadline:
                raise ClusterError(f"{component.name} does not answer:\n{processes.log_tail(component)}")
        time.sleep(0.2)


def _start_nodes(nodes: list[Node], control: ControlPlane) -> None:
    for each in nodes:
        node.start(each, control)


def _await_nodes(control: ControlPlane, nodes: list[Node]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while waiting := {each.name for each in nodes} - ready_nodes(control):
        if time.monotonic() > deadline:
            tails = "\n".join(processes.log_tail(node.components(each, control)[1]) for each in nodes)
            raise ClusterError(
                f"Nodes {', '.join(sorted(waiting))} did not get ready in {READY_SECONDS:.0f} s.\n{tails}"
            )
        time.sleep(0.3)


def _check_alive(started: list[Component]) -> None:
    """What ended by itself is named, with the end of its log."""
    if dead := [component for component in started if not processes.is_running(component.record)]:
        tails = "\n".join(f"{component.name} ended:\n{processes.log_tail(component)}" for component in dead)
        raise ClusterError(tails)


def ready_nodes(control: ControlPlane) -> set[str]:
    """Names of the nodes that the API server calls ready."""
    listed = json.loads(kubectl(control, "get", "nodes", "-o", "json"))["items"]
    return {item["metadata"]["name"] for item in listed if _is_ready(item["status"].get("conditions", []))}


def _is_ready(conditions: list[dict[str, str]]) -> bool:
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def kubectl(control: ControlPlane, *arguments: str, stdin: str | None = None) -> str:
    admin = control.pki.path("admin.kubeconfig")
    return processes.run(str(control.binaries / "kubectl"), f"--kubeconfig={admin}", *arguments, stdin=stdin)


def _apply_addons(control: ControlPlane) -> None:
    text = (MANIFESTS / "addons.yaml").read_text()
    values = {
        "ADDONS_IMAGE": ADDONS_IMAGE,
        "DNS_ADDRESS": DNS_ADDRESS,
        "VOLUMES": str(state_directory() / "volumes"),
        "LEAVE_LOST_NODES": json.dumps(LEAVE_LOST_NODES),
    }
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    kubectl(control, "apply", "-f", "-", stdin=text)
    for deployment in ("coredns", "volume-provisioner"):
        kubectl(control, "-n", "kube-system", "rollout", "status", f"deployment/{deployment}", "--timeout=90s")


def down(say: Say) -> None:
    """Remove every process, mount, cgroup, network namespace, link and rule that was made, and the state folder.

    Raises:
        ClusterError: the folder is no cluster's, or something is left.
    """
    with state.locked():
        state.check_folder()
        say("processes")
        for record in sorted((state_directory() / "run").glob("*.json")):
            processes.stop(record, force=True)
        for each in all_nodes():
            for _ in range(2):
                processes.end(node.member_pids(each), force=True)
        say("mounts, cgroups, network")
        mounts.unmount_under(state_directory())
        for each in all_nodes():
            node.remove_cgroups(each)
        network.tear_down()
        state.release()
        _await_nothing_left()


def _await_nothing_left() -> None:
    """A process that was killed takes a moment to leave the process table."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := leftovers():
        if time.monotonic() > deadline:
            raise ClusterError(f"Left behind: {'; '.join(left)}.")
        time.sleep(0.1)


def leftovers() -> list[str]:
    """What of the cluster is still on the machine; empty after ``down``."""
    found = network.leftovers() + mounts.mounts_under(state_directory())
    for each in all_nodes():
        found += node.leftovers(each)
    return found + ([str(state_directory())] if state_directory().exists() else [])


def stop_node(each: Node) -> None:
    """Shut a node down in order: its pods get SIGTERM."""
    _check_present(each)
    node.stop(each, plane())


def start_node(each: Node) -> None:
    """Bring a node back, its cable plugged in. Other nodes stay as they are."""
    _check_present(each)
    network.set_up(present_nodes())
    network.partition(each, heal=True)
    node.make_cgroups(each)
    node.start(each, plane())


def kill_node(each: Node) -> None:
    """Let a node lose its power: everything in it is gone at once, and nobody is told."""
    _check_present(each)
    node.kill(each, plane())
    mounts.unmount_under(each.directory)


def partition(each: Node, heal: bool) -> None:
    """Pull a node's network cable, or plug it in again."""
    _check_present(each)
    network.partition(each, heal)


def _check_present(each: Node) -> None:
    if each not in present_nodes():
        raise ClusterError(f"{each.name} is not part of the cluster; `up --nodes {each.number}` adds it.")


def load(names: list[str], say: Say) -> None:
    """Bring images into the seed and every node."""
    with state.locked():
        if not present_nodes():
            raise ClusterError("The cluster is not up: run `python3 -m leyden_cluster up`.")
        distribution.load(names, plane(), running_nodes(), present_nodes(), say)


def status() -> dict[str, object]:
    """What runs, as data."""
    if not state_directory().exists() or not present_nodes():
        return {"up": False, "components": {}, "nodes": {}}
    control = plane()
    running = {component.name: processes.is_running(component.record) for component in components(control)}
    ready = ready_nodes(control) if running["kube-apiserver"] else set()
    nodes = {each.name: "Ready" if each.name in ready else "NotReady" for each in present_nodes()}
    return {"up": all(running.values()), "components": running, "nodes": nodes, "bridge": BRIDGE}
