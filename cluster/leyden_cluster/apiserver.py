"""etcd and a kube-apiserver alone, in seconds and without root: what API tests need."""

import socket
from dataclasses import dataclass
from pathlib import Path

from leyden_cluster import processes
from leyden_cluster.binaries import binaries
from leyden_cluster.control_plane import ControlPlane
from leyden_cluster.lifecycle import await_apiserver


@dataclass(frozen=True)
class ApiServer:
    """A running API server. ``kubeconfig`` is its administrator's."""

    plane: ControlPlane

    @property
    def kubeconfig(self) -> Path:
        return Path(self.plane.pki.path("admin.kubeconfig"))

    @property
    def kubectl(self) -> str:
        return str(self.plane.binaries / "kubectl")

    def stop(self) -> None:
        """End every process; the folder stays for a look."""
        for record in sorted((self.plane.directory / "run").glob("*.json")):
            processes.stop(record, force=True)


def start_apiserver(directory: Path, controllers: bool = False) -> ApiServer:
    """Start etcd and kube-apiserver on free ports of the loopback interface.

    Args:
        directory: keeps data, keys and logs.
        controllers: start kube-controller-manager too (garbage collection, namespaces, service accounts).

    Raises:
        ClusterError: the binaries have not been built, or a process does not answer.
    """
    ports = free_ports(3)
    plane = ControlPlane(binaries().directory, directory, "127.0.0.1", *ports)
    plane.issue_certificates()
    server = ApiServer(plane)
    try:
        processes.start(plane.etcd())
        processes.start(plane.apiserver())
        await_apiserver(plane)
        if controllers:
            processes.start(plane.controller_manager(f"--secure-port={free_ports(1)[0]}"))
    except BaseException:
        server.stop()
        raise
    return server


def free_ports(count: int) -> list[int]:
    """Different TCP ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
