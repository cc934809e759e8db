"""Image stores: containerd's content, and the one in the cache that every new node's store is a copy of.

Importing an image of several gigabytes takes minutes, and a hard-linked copy of a store takes seconds. So images go
into a store of their own first (the **seed**). Layers are never written to again, which is what makes the links safe;
the databases are copied for real.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leyden_cluster import processes
from leyden_cluster.binaries import Binaries
from leyden_cluster.node import await_containerd
from leyden_cluster.oci import Layout, write_scratch_image
from leyden_cluster.processes import Component
from leyden_cluster.settings import ADDONS_IMAGE, ClusterError, Node, cache_directory, state_directory

NAMESPACE = "k8s.io"
ADDONS = ("pause", "coredns", "metrics-server", "provisioner")

SEED_CONFIG = """version = 3
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
address = "{state}/containerd.sock"

[ttrpc]
address = "{state}/containerd.sock.ttrpc"
"""


@dataclass(frozen=True)
class Store:
    """The image store of a containerd that runs."""

    binaries: Binaries
    socket: Path

    def _ctr(self, *arguments: str) -> list[str]:
        return [self.binaries.path("ctr"), f"--address={self.socket}", f"--namespace={NAMESPACE}", *arguments]

    def images(self) -> dict[str, str]:
        """The digest of each image by its name."""
        lines = processes.run(*self._ctr("images", "ls")).splitlines()[1:]
        return {name: digest for name, _, digest in (line.split()[:3] for line in lines)}

    def has_user_containers(self) -> bool:
        """Whether containers are here that are not the cluster's own."""
        foreign = 'labels."io.kubernetes.pod.namespace"!=kube-system'
        return bool(processes.run(*self._ctr("containers", "ls", "-q", foreign)).split())

    def blobs(self) -> set[str]:
        return set(processes.run(*self._ctr("content", "ls", "-q")).split())

    def load(self, layout: Layout, name: str) -> None:
        """Import an image, sending only the blobs that are not here.

        Raises:
            ClusterError: containerd refused it.
        """
        command = self._ctr("images", "import", "--local", "--snapshotter=overlayfs", "-")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as ctr:
            assert ctr.stdin is not None and ctr.stdout is not None
            try:
                layout.pack(name, self.blobs(), ctr.stdin)
                ctr.stdin.close()
            except BrokenPipeError:
                pass  # ctr has ended; what it said is the error below
            said = ctr.stdout.read().decode(errors="replace")
        if ctr.returncode:
            raise ClusterError(f"containerd refused {name}: {said.strip()}")

    def forget(self, names: list[str]) -> None:
        """Remove images and what only they held, Kubernetes' own names of them (``sha256:...``) too."""
        there = self.images()
        tagged = {digest for name, digest in there.items() if name not in names and not name.startswith("sha256:")}
        bare = [name for name, digest in there.items() if name.startswith("sha256:") and digest not in tagged]
        if gone := [*names, *bare]:
            processes.run(*self._ctr("images", "rm", "--sync", *gone))


def seed_directory() -> Path:
    return cache_directory() / "containerd"


@contextmanager
def seed_store(binaries: Binaries) -> Iterator[Store]:
    """The seed's store, with a containerd of its own for as long as the context lasts."""
    state = state_directory() / "seed"
    state.mkdir(parents=True, exist_ok=True)
    config = state / "containerd.toml"
    config.write_text(SEED_CONFIG.format(root=seed_directory(), state=state))
    command = (binaries.path("containerd"), f"--config={config}")
    component = Component("seed-containerd", command, state_directory(), path=str(binaries.directory))
    processes.start(component)
    socket = state / "containerd.sock"
    try:
        await_containerd(component, binaries.directory, socket)
        yield Store(binaries, socket)
    finally:
        processes.stop(component.record)


def ensure_addons(binaries: Binaries) -> None:
    """The seed has the cluster's own image, made from these binaries."""
    marker = seed_directory() / "addons"
    if marker.exists() and marker.read_text() == str(binaries.directory):
        return
    layout = Layout(state_directory() / "addons")
    write_scratch_image(layout, ADDONS_IMAGE, {f"/{name}": Path(binaries.path(name)) for name in ADDONS}, ["/pause"])
    with seed_store(binaries) as store:
        store.load(layout, ADDONS_IMAGE)
    shutil.rmtree(layout.directory)
    marker.write_text(str(binaries.directory))


def clone_seed(node: Node) -> None:
    """Give a node that has no store yet a copy of the seed."""
    target = node.directory / "containerd"
    if any(target.glob("*")):
        return
    part = node.directory / "containerd.part"
    shutil.rmtree(part, ignore_errors=True)
    processes.run("cp", "-al", str(seed_directory()), str(part))
    for database in part.rglob("*.db"):
        copy = database.with_suffix(".copy")
        shutil.copy2(database, copy)
        copy.rename(database)
    target.rmdir()
    part.rename(target)
