"""Kubernetes and what a cluster needs beside it, built from Go modules into the cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leyden_cluster.processes import run
from leyden_cluster.settings import KUBERNETES_VERSION, SOURCE, ClusterError, cache_directory

HYPERKUBE_NAMES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
PACKAGES = {
    "hyperkube": "./cmd/hyperkube",
    "pause": "./cmd/pause",
    "provisioner": "./cmd/provisioner",
    "containerd": "github.com/containerd/containerd/v2/cmd/containerd",
    "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    "ctr": "github.com/containerd/containerd/v2/cmd/ctr",
    "helm": "helm.sh/helm/v3/cmd/helm",
    "metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server",
    "coredns": "github.com/coredns/coredns",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw",
}
BUILD_GIGABYTES = 8


@dataclass(frozen=True)
class Binaries:
    """A finished set of binaries."""

    directory: Path

    def path(self, name: str) -> str:
        return str(self.directory / name)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


def key() -> str:
    """Changes when anything that the binaries are made from does."""
    digest = hashlib.sha256(KUBERNETES_VERSION.encode())
    for path in sorted(path for path in SOURCE.rglob("*") if path.suffix in {".go", ".mod", ".sum"}):
        digest.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def binaries() -> Binaries:
    """The set for this source.

    Raises:
        ClusterError: it has not been built.
    """
    directory = cache_directory() / "bin" / key()
    if not directory.is_dir():
        raise ClusterError("Kubernetes has not been built yet: run `python3 -m leyden_cluster build`.")
    return Binaries(directory)


def build(say: Callable[[str], None]) -> Binaries:
    """Build what is missing. Go's own cache makes a build that was cut off go on from where it was.

    Raises:
        ClusterError: no Go, no room, or the compiler's own words.
    """
    directory = cache_directory() / "bin" / key()
    if directory.is_dir():
        return Binaries(directory)
    _check_ground(directory.parent)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".building-") as unfinished:
        for number, (name, package) in enumerate(PACKAGES.items(), 1):
            began = time.monotonic()
            say(f"building {name} ({number} of {len(PACKAGES)})")
            _compile(package, Path(unfinished) / name)
            say(f"built {name} in {time.monotonic() - began:.0f} s")
        for name in HYPERKUBE_NAMES:
            (Path(unfinished) / name).symlink_to("hyperkube")
        os.chmod(unfinished, 0o755)
        shutil.copytree(unfinished, directory.with_suffix(".part"), symlinks=True, dirs_exist_ok=True)
    directory.with_suffix(".part").rename(directory)
    return Binaries(directory)


def _compile(package: str, target: Path) -> None:
    stamp = f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"
    command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {stamp}", "-o", str(target), package]
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    ran = subprocess.run(command, cwd=SOURCE, env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ClusterError(f"`{' '.join(command)}` in {SOURCE} failed:\n{ran.stderr.strip()[-2000:]}")


def _check_ground(directory: Path) -> None:
    if shutil.which("go") is None:
        raise ClusterError("Go is not installed, and Kubernetes is built with it.")
    needed = next(line.split()[1] for line in (SOURCE / "go.mod").read_text().splitlines() if line.startswith("go "))
    run("go", "version")
    directory.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(directory).free) < BUILD_GIGABYTES * 10**9:
        raise ClusterError(
            f"{directory} has {free / 10**9:.1f} GB free; building Kubernetes (Go {needed}) takes {BUILD_GIGABYTES} GB."
        )
