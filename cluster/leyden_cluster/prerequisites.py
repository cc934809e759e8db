"""What the machine must have, and how to get what is missing."""

import os
import shutil
import sys
from pathlib import Path

from leyden_cluster.processes import run
from leyden_cluster.settings import ClusterError

COMMANDS = {
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "runc": "runc",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
}
"""Command -> the Debian package that has it."""

FILES = {"/usr/lib/cni/bridge": "containernetworking-plugins"}
KERNEL = {"overlay": "/sys/module/overlay", "bridge": "/sys/module/bridge", "veth": "/sys/module/veth"}
INSTALL_VARIABLE = "LEYDEN_INSTALL"


def missing_packages() -> list[str]:
    """Debian packages that this machine lacks, sorted."""
    commands = {package for command, package in COMMANDS.items() if shutil.which(command) is None}
    files = {package for path, package in FILES.items() if not Path(path).exists()}
    return sorted(commands | files | _missing_venv())


def _missing_venv() -> set[str]:
    try:
        import ensurepip  # noqa: F401  Debian's Python has it only with python3-venv
    except ImportError:
        return {"python3-venv"}
    return set()


def missing_kernel_features() -> list[str]:
    """Features that are neither built in nor loadable."""
    found = {name for name, path in KERNEL.items() if Path(path).exists()}
    if "overlay" in Path("/proc/filesystems").read_text():
        found.add("overlay")
    return [name for name in KERNEL if name not in found and not _load(name)]


def _load(name: str) -> bool:
    try:
        run("modprobe", name)
    except ClusterError:
        return _builtin(name)
    return True


def _builtin(name: str) -> bool:
    listed = Path("/lib/modules", os.uname().release, "modules.builtin")
    if listed.exists():
        return f"/{name}.ko" in listed.read_text()
    # Without a module list the kernel was made in one piece; the first use says what it lacks, and is one sentence too.
    return True


def require_root() -> None:
    """Refuses everybody else in one sentence."""
    if os.geteuid() != 0:
        raise ClusterError("The local cluster makes network namespaces, which needs root: run it with sudo.")


def check() -> str:
    """Says that the cluster can be started here.

    Raises:
        ClusterError: what is missing, in one sentence, with the command that gets it.
    """
    require_root()
    if missing := missing_packages():
        raise ClusterError(
            f"Debian packages are missing: {' '.join(missing)}. "
            f"Install them with `apt-get install {' '.join(missing)}` or `make prerequisites`."
        )
    if features := missing_kernel_features():
        raise ClusterError(f"The kernel lacks {', '.join(features)}.")
    return "all there"


def install() -> str:
    """Install what is missing, after asking where someone can answer; ``LEYDEN_INSTALL=1`` is a yes.

    Raises:
        ClusterError: nobody agreed, or there is no apt-get.
    """
    missing = missing_packages()
    if missing:
        _agree(missing)
        if shutil.which("apt-get") is None:
            raise ClusterError(f"This is no Debian; install yourself: {' '.join(missing)}.")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=env)
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, env=env)
    ready = check()
    return f"installed {' '.join(missing)}" if missing else ready


def _agree(missing: list[str]) -> None:
    if os.environ.get(INSTALL_VARIABLE) == "1":
        return
    question = f"Install the Debian packages {' '.join(missing)}? [y/N] "
    if not sys.stdin.isatty():
        raise ClusterError(
            f"Debian packages are missing: {' '.join(missing)}. Set {INSTALL_VARIABLE}=1 to have them installed."
        )
    if input(question).strip().lower() not in {"y", "yes"}:
        raise ClusterError(f"Nothing was installed; missing: {' '.join(missing)}.")
