"""What this pod has: CPUs, GPUs, and the kernel's count of processes killed for memory."""

import math
import os
import shutil
import socket
import subprocess
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cpus(root: Path = CGROUPS) -> float:
    """CPUs that this process may use: the smaller of its cgroup's limit and its affinity."""
    allowed = float(len(os.sched_getaffinity(0)))
    # One file in version 2 of cgroups, two in version 1.
    limit = _words(root / "cpu.max") or _words(root / "cpu/cpu.cfs_quota_us") + _words(root / "cpu/cpu.cfs_period_us")
    if len(limit) < 2 or limit[0] in ("max", "-1"):
        return allowed
    quota, period = map(float, limit)
    return min(allowed, quota / period)


def threads(ranks: int) -> int:
    """Threads for each of ``ranks`` processes."""
    return max(1, math.floor(cpus() / ranks))


def gpus() -> int:
    """NVIDIA GPUs that a process here can use. Looks from outside: nothing is initialised."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    if tool := shutil.which("nvidia-smi"):
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=False)
        if listed.returncode == 0:
            lines = [line.strip() for line in listed.stdout.splitlines()]
            slices = sum(line.startswith("MIG ") for line in lines)
            return slices or sum(line.startswith("GPU ") for line in lines)
    return sum(device.name[len("nvidia") :].isdecimal() for device in Path("/dev").glob("nvidia*"))


def free_port() -> int:
    """A port on the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def oom_kills(root: Path = CGROUPS) -> int:
    """Processes of this cgroup that the kernel killed for memory so far."""
    for path in (root / "memory.events", root / "memory/memory.oom_control"):
        if path.exists():
            fields = (line.split() for line in path.read_text().splitlines())
            return sum(int(value) for name, value in fields if name == "oom_kill")
    return 0


def _words(path: Path) -> list[str]:
    """What a file holds; nothing where there is none."""
    return path.read_text().split() if path.exists() else []
