"""Command lines and configuration files; processes and their records."""

import json
import socket
import subprocess
import threading
import tomllib
from pathlib import Path

import pytest

from leyden_cluster import lifecycle, node, processes
from leyden_cluster.apiserver import free_ports
from leyden_cluster.control_plane import ControlPlane
from leyden_cluster.pki import Pki
from leyden_cluster.settings import ClusterError, Node

PLANE = ControlPlane(Path("/bin-dir"), Path("/state"), "10.200.0.1", 6443, 2379, 2380)
ALONE = ControlPlane(Path("/bin-dir"), Path("/state"), "127.0.0.1", 7001, 7002, 7003)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        pytest.param("kube-apiserver", "--bind-address=10.200.0.1", id="api-server-listens-on-the-nodes-network-alone"),
        pytest.param("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", id="api-server-finds-etcd"),
        pytest.param("kube-apiserver", "--authorization-mode=Node,RBAC", id="access-is-checked"),
        pytest.param("etcd", "--listen-client-urls=http://127.0.0.1:2379", id="etcd-listens-on-loopback-alone"),
        pytest.param("kube-scheduler", "--feature-gates=GenericWorkload=true", id="scheduler-knows-gangs"),
        pytest.param("kube-controller-manager", "--allocate-node-cidrs=false", id="extra-arguments-are-kept"),
    ],
)
def test_control_plane_command_lines(name: str, flag: str) -> None:
    manager = PLANE.controller_manager("--allocate-node-cidrs=false")
    commands = {each.name: each.command for each in (PLANE.etcd(), PLANE.apiserver(), manager, PLANE.scheduler())}
    assert commands[name][0] == f"/bin-dir/{name}"
    assert flag in commands[name]


def test_only_an_api_server_alone_publishes_no_endpoint() -> None:
    flag = "--endpoint-reconciler-type=none"
    assert flag in ALONE.apiserver().command
    assert flag not in PLANE.apiserver().command


def test_node_components_start_containerd_first_and_live_in_the_nodes_network() -> None:
    found = node.components(Node(2), PLANE)
    assert [each.name for each in found] == ["node2-containerd", "node2-kubelet", "node2-kube-proxy"]
    assert {each.node for each in found} == {Node(2)}
    assert "--node-ip=10.200.0.12" in found[1].command


def test_containerd_keeps_everything_in_the_nodes_folder() -> None:
    config = tomllib.loads(node.containerd_config(Path("/state/node1"), Path("/state/node1/cni")))
    assert (config["root"], config["state"]) == ("/state/node1/containerd", "/state/node1/state")
    assert config["grpc"]["address"] == "/state/node1/containerd.sock"
    assert config["plugins"]["io.containerd.cri.v1.runtime"]["restrict_oom_score_adj"] is True


def test_kubelet_lets_nobody_in_without_a_name() -> None:
    config = json.loads(json.dumps(node.kubelet_config(Node(1), Pki(Path("/state/pki")))))
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["cgroupRoot"] == "/leyden-node1"


def test_pods_get_addresses_from_their_nodes_network() -> None:
    plugins = json.loads(json.dumps(node.cni_config(Node(3))))["plugins"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]


def test_kube_proxy_leaves_the_machines_connection_limits_alone() -> None:
    config = json.loads(json.dumps(node.proxy_config(Node(1), Pki(Path("/state/pki")))))
    assert config["conntrack"]["maxPerCore"] == 0
    assert config["clusterCIDR"] == "10.244.0.0/16"


@pytest.fixture
def sleeper(tmp_path: Path) -> processes.Component:
    return processes.Component("sleeper", ("sleep", "60"), tmp_path)


def test_a_component_starts_once_and_ends(sleeper: processes.Component) -> None:
    processes.start(sleeper)
    pid = processes.recorded_pid(sleeper.record)
    processes.start(sleeper)
    assert pid is not None and processes.recorded_pid(sleeper.record) == pid
    processes.stop(sleeper.record, force=True)
    assert processes.started_at(pid) is None and not sleeper.record.exists()


@pytest.mark.parametrize(
    ("ours", "freed"),
    [
        pytest.param(True, True, id="of-a-component-that-is-dying"),
        pytest.param(True, False, id="taken-by-a-stranger-since"),
        pytest.param(False, True, id="of-a-stranger"),
    ],
)
def test_a_port_of_ours_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool, freed: bool) -> None:
    monkeypatch.setattr(lifecycle, "GONE_SECONDS", 10.0 if freed else 0.2)
    ports = free_ports(3)
    control = ControlPlane(Path("/bin-dir"), tmp_path, "127.0.0.1", *ports)
    record = control.apiserver().record
    record.parent.mkdir()
    if ours:
        record.write_text(json.dumps({"pid": 1, "started": None, "boot": "another"}))
    with socket.create_server(("127.0.0.1", ports[0])) as holder:
        ending = threading.Timer(0.2, holder.close)
        if freed:
            ending.start()
        if ours and freed:
            lifecycle._check_ports(control, None)
        else:
            with pytest.raises(
                ClusterError, match=f"127.0.0.1:{ports[0]} is in use by another program; kube-apiserver"
            ):
                lifecycle._check_ports(control, None)
        ending.cancel()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"boot": "another"}, id="recorded-before-the-machine-started-anew"),
        pytest.param({"started": 1}, id="pid-given-to-another-process"),
        pytest.param({"started": None}, id="ended-before-it-was-recorded"),
    ],
)
def test_a_strangers_process_is_never_taken_for_ours(tmp_path: Path, change: dict[str, object]) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        entry = {"pid": stranger.pid, "started": processes.started_at(stranger.pid), "boot": processes.boot_id()}
        record = tmp_path / "record.json"
        record.write_text(json.dumps(entry))
        assert processes.is_running(record)
        record.write_text(json.dumps({**entry, **change}))
        processes.stop(record, force=True)
        assert stranger.poll() is None
        stranger.kill()
