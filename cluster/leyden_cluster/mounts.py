"""Mounts that kubelet and containerd leave in the cluster's folder."""

from pathlib import Path

from leyden_cluster.processes import run


def mounts_under(directory: Path) -> list[str]:
    """Mount points below a folder, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return sorted((point for point in points if point.startswith(f"{directory}/")), key=len, reverse=True)


def unmount_under(directory: Path) -> None:
    """Unmount them all. Lazily, because a mount may hold another one of the same place."""
    while points := mounts_under(directory):
        for point in points:
            run("umount", "--lazy", point)
