"""How many processors this container may use."""

import math
import os
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


def cpu_limit(mount: Path = MOUNT) -> float:
    """Processors by the cgroup's quota, version 2 or 1; without a quota, those that the process may run on."""
    available = float(len(os.sched_getaffinity(0)))
    quota = _version_2(mount) or _version_1(mount)
    return min(available, quota) if quota else available


def _version_2(mount: Path) -> float | None:
    text = _read(mount / "cpu.max")
    if not text or text.startswith("max"):
        return None
    quota, period = text.split()
    return int(quota) / int(period)


def _version_1(mount: Path) -> float | None:
    quota, period = _read(mount / "cpu" / "cpu.cfs_quota_us"), _read(mount / "cpu" / "cpu.cfs_period_us")
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def workers_and_threads(asked: int | str, cpus: float, on_gpu: bool = False) -> tuple[int, int]:
    """Processes, and torch threads of each.

    ``auto`` gives a process to every two processors: one computes while the other parses, and threads within a
    small model's operators pay off little. On a GPU it is one, for each would keep a copy of the model there.
    """
    workers = asked if isinstance(asked, int) else 1 if on_gpu else max(1, math.floor(cpus / 2))
    return workers, max(1, math.floor(cpus / workers))
