"""One node: its containerd, kubelet and kube-proxy, their configuration and their cgroups."""

import json
import os
import time
from pathlib import Path

from leyden_cluster import processes
from leyden_cluster.control_plane import ControlPlane
from leyden_cluster.pki import Pki
from leyden_cluster.processes import Component
from leyden_cluster.settings import ADDONS_IMAGE, DNS_ADDRESS, POD_NETWORK, ClusterError, Node, state_directory

CGROUPS = Path("/sys/fs/cgroup")
CONTAINERD_SECONDS = 30.0


def components(node: Node, plane: ControlPlane) -> list[Component]:
    """The node's processes in the order in which they start."""
    binaries, directory = plane.binaries, node.directory
    commands: dict[str, tuple[str, ...]] = {
        "containerd": (str(binaries / "containerd"), f"--config={directory / 'containerd.toml'}"),
        "kubelet": (
            str(binaries / "kubelet"),
            f"--config={directory / 'kubelet.json'}",
            f"--kubeconfig={plane.pki.path(f'{node.name}.kubeconfig')}",
            f"--root-dir={directory / 'kubelet'}",
            f"--cert-dir={directory / 'kubelet' / 'pki'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ),
        "kube-proxy": (str(binaries / "kube-proxy"), f"--config={directory / 'proxy.json'}"),
    }
    return [
        Component(f"{node.name}-{name}", command, state_directory(), node, str(binaries))
        for name, command in commands.items()
    ]


def configure(node: Node, plane: ControlPlane) -> None:
    """Write the node's configuration and certificates; the same input writes the same files."""
    for folder in ("containerd", "state", "kubelet", "cni", "podlogs"):
        (node.directory / folder).mkdir(parents=True, exist_ok=True)
    pki = plane.pki
    pki.issue(node.name, f"/O=system:nodes/CN=system:node:{node.name}")
    pki.kubeconfig(node.name, plane.server)
    (node.directory / "containerd.toml").write_text(containerd_config(node.directory, node.directory / "cni"))
    _write_json(node.directory / "cni" / "10-pods.conflist", cni_config(node))
    _write_json(node.directory / "kubelet.json", kubelet_config(node, pki))
    _write_json(node.directory / "proxy.json", proxy_config(node, pki))
    make_cgroups(node)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))


def containerd_config(directory: Path, cni: Path) -> str:
    """containerd's configuration with everything under ``directory``.

    ``restrict_oom_score_adj``: without it every sandbox fails where CAP_SYS_RESOURCE is missing.
    """
    return f"""version = 3
root = "{directory}/containerd"
state = "{directory}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
address = "{directory}/containerd.sock"

[ttrpc]
address = "{directory}/containerd.sock.ttrpc"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{ADDONS_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{cni}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def cni_config(node: Node) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "dataDir": str(node.directory / "ipam"),
        "ranges": [[{"subnet": node.pod_network}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipMasq": False, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]}


def kubelet_config(node: Node, pki: Pki) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": pki.path("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 12,
        "syncFrequency": "10s",
        "resolvConf": "/etc/resolv.conf",
        "volumePluginDir": str(node.directory / "volume-plugins"),
        "podLogsDir": str(node.directory / "podlogs"),
        "serializeImagePulls": False,
    }


def proxy_config(node: Node, pki: Pki) -> dict[str, object]:
    """conntrack is left alone: its limits belong to the machine, not to one of its network namespaces."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": POD_NETWORK,
        "clientConnection": {"kubeconfig": pki.path("proxy.kubeconfig")},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "hostnameOverride": node.name,
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
    }


def controllers() -> list[Path]:
    """The cgroup hierarchies: one on version 2, one for each controller on version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def make_cgroups(node: Node) -> None:
    for hierarchy in controllers():
        group = hierarchy / node.cgroup
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # Version 1 only: a new cpuset is empty, and nothing can run in it.
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())


def start_runtime(node: Node, plane: ControlPlane) -> None:
    """containerd answers.

    Raises:
        ClusterError: it does not, with the end of its log.
    """
    runtime = components(node, plane)[0]
    processes.start(runtime)
    await_containerd(runtime, plane.binaries, node.socket)


def await_containerd(runtime: Component, binaries: Path, socket: Path) -> None:
    deadline = time.monotonic() + CONTAINERD_SECONDS
    while not processes.succeeds(str(binaries / "ctr"), f"--address={socket}", "version"):
        if time.monotonic() > deadline or not processes.is_running(runtime.record):
            raise ClusterError(f"{runtime.name} does not answer:\n{processes.log_tail(runtime)}")
        time.sleep(0.1)


def start(node: Node, plane: ControlPlane) -> None:
    """Every process of the node runs."""
    start_runtime(node, plane)
    for component in components(node, plane)[1:]:
        processes.start(component)


def member_pids(node: Node) -> list[int]:
    """Processes in the node's cgroups or in its network namespace: components, shims and containers."""
    network = _inode(Path("/var/run/netns") / node.namespace)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _belongs(entry, node, network):
            found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def _belongs(process: Path, node: Node, network: int | None) -> bool:
    try:
        if network is not None and _inode(process / "ns" / "net") == network:
            return True
        return f":/{node.cgroup}" in (process / "cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def stop(node: Node, plane: ControlPlane) -> None:
    """Orderly, as a shutdown: kubelet and kube-proxy first, then containers and containerd."""
    for component in reversed(components(node, plane)):
        processes.stop(component.record)
    processes.end(member_pids(node))


def kill(node: Node, plane: ControlPlane) -> None:
    """At once, as a power loss: everything in the node gets SIGKILL, twice, since a shim may have been starting one."""
    for component in components(node, plane):
        processes.stop(component.record, force=True)
    for _ in range(2):
        processes.end(member_pids(node), force=True)


def remove_cgroups(node: Node) -> None:
    """Remove the node's cgroups, innermost first."""
    for hierarchy in controllers():
        group = hierarchy / node.cgroup
        if group.exists():
            inner = sorted((path for path in group.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
            for folder in (*inner, group):
                folder.rmdir()


def leftovers(node: Node) -> list[str]:
    found = [f"cgroup {hierarchy / node.cgroup}" for hierarchy in controllers() if (hierarchy / node.cgroup).exists()]
    return found + [f"process {pid}" for pid in member_pids(node)]
