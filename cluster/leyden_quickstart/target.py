"""Which cluster to use: the one that ``KUBECONFIG`` names, else kind where Docker answers, else Leyden's own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from leyden_cluster.settings import admin_kubeconfig, cache_directory
from leyden_quickstart.processes import capture

KIND_CLUSTER = "leyden"
KIND_KUBECONFIG = cache_directory() / "kind.kubeconfig"
NODES = 3


class Kind(StrEnum):
    """Where the cluster comes from."""

    GIVEN = "given"
    KIND = "kind"
    LOCAL = "local"


@dataclass(frozen=True)
class Target:
    """The chosen cluster. ``kubeconfig`` is ``None`` until it is up."""

    kind: Kind
    kubeconfig: Path | None = None

    @property
    def described(self) -> str:
        return {
            Kind.GIVEN: f"the cluster of KUBECONFIG={self.kubeconfig}",
            Kind.KIND: f"kind, cluster {KIND_CLUSTER!r} (this way is written but untested by us)",
            Kind.LOCAL: f"Leyden's local cluster, {NODES} nodes",
        }[self.kind]


def choose(environ: Mapping[str, str], docker_answers: bool, has_kind: bool, ours: Mapping[Path, Kind]) -> Target:
    """The order of choice. Pure: what the machine has comes in as arguments.

    ``ours``: kubeconfig files of the clusters that the quickstart starts itself. Whoever exported one of them, as the
    quickstart's last lines say, still means that cluster.
    """
    if given := environ.get("KUBECONFIG"):
        return Target(ours[Path(given)]) if Path(given) in ours else Target(Kind.GIVEN, Path(given))
    if docker_answers and has_kind:
        return Target(Kind.KIND)
    return Target(Kind.LOCAL)


def choose_here() -> Target:
    """:func:`choose` with what this machine has."""
    ours = {admin_kubeconfig(): Kind.LOCAL, KIND_KUBECONFIG: Kind.KIND}
    return choose(os.environ, docker_answers(), shutil.which("kind") is not None, ours)


def docker_answers() -> bool:
    """Whether a Docker engine runs here (the client alone is not enough)."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0


def tool(module: str, *arguments: str) -> list[str]:
    """The command line of one of our own tools."""
    return [sys.executable, "-m", module, *arguments]


def binary(name: str, target: Target) -> str:
    """``kubectl`` or ``helm``: the local cluster's own build for the local cluster, else what is on ``PATH``.

    Raises:
        StepFailed: neither is there.
    """
    if target.kind is not Kind.LOCAL and (found := shutil.which(name)):
        return found
    return capture(tool("leyden_cluster", "which", name)).strip()
