"""Kubernetes and what a cluster needs beside it, built from Go modules into the cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
PROGRESS_SECONDS = 10.0


def linker_flags() -> str:
    """Tells Kubernetes its version, and helm the version that `helm template` and `helm lint` believe in."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {"k8s.io/component-base/version.gitVersion": f"v{KUBERNETES_VERSION}"}
    for package in ("chartutil", "lint/rules"):
        values[f"helm.sh/helm/v3/pkg/{package}.k8sVersionMajor"] = major
        values[f"helm.sh/helm/v3/pkg/{package}.k8sVersionMinor"] = minor
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


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
    digest = hashlib.sha256(linker_flags().encode())
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
    with _alone(directory.parent, say):
        if not directory.is_dir():
            _build_into(directory, say)
    return Binaries(directory)


@contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Only one build at a time; the system frees the lock of one that was killed."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_into(directory: Path, say: Callable[[str], None]) -> None:
    """The folder appears when it is complete; what an earlier build left unfinished is thrown away."""
    part = directory.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for number, (name, package) in enumerate(PACKAGES.items(), 1):
        began = time.monotonic()
        what = f"building {name} ({number} of {len(PACKAGES)})"
        say(what)
        _compile(package, part / name, what, say)
        say(f"built {name} in {time.monotonic() - began:.0f} s")
    for name in HYPERKUBE_NAMES:
        (part / name).symlink_to("hyperkube")
    part.rename(directory)


def _compile(package: str, target: Path, what: str, say: Callable[[str], None]) -> None:
    """Run Go, and say how far it is every few seconds. Packages that are in Go's cache are not counted as done."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    listed = ["go", "list", "-deps", package]
    total = len(subprocess.run(listed, cwd=SOURCE, env=env, stdout=subprocess.PIPE, check=False).stdout.splitlines())
    command = ["go", "build", "-v", "-trimpath", "-ldflags", linker_flags(), "-o", str(target), package]
    printed: list[str] = []
    compiled, said = 0, time.monotonic()
    with subprocess.Popen(command, cwd=SOURCE, env=env, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        for line in running.stderr:
            printed.append(line)
            compiled += not line.startswith("go: ")
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                say(f"{what}: {compiled} of {total} packages compiled")
    if running.returncode:
        raise ClusterError(f"`{' '.join(command)}` in {SOURCE} failed:\n{''.join(printed).strip()[-2000:]}")


def _check_ground(directory: Path) -> None:
    if shutil.which("go") is None:
        raise ClusterError("Go is not installed, and Kubernetes is built with it.")
    directory.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(directory).free) < BUILD_GIGABYTES * 10**9:
        raise ClusterError(
            f"{directory} has {free / 10**9:.1f} GB free; building Kubernetes takes {BUILD_GIGABYTES} GB."
        )
