"""Whose cluster this machine runs, and that only one command changes it at a time.

Links, rules and cgroups have fixed names, so a machine has room for one cluster, whatever its state folder is.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leyden_cluster.prerequisites import require_root
from leyden_cluster.settings import OWNER, ClusterError, state_directory


def marker(directory: Path) -> Path:
    """Says that a folder is a cluster's: nothing else is ever removed."""
    return directory / ".leyden-cluster"


@contextmanager
def locked() -> Iterator[None]:
    """Only one command changes the cluster at a time; a second one waits.

    Raises:
        ClusterError: not root, or the cluster of this machine has another state folder.
    """
    require_root()
    with OWNER.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        check_owner(lock.read())
        yield


def check_owner(owner: str) -> None:
    """Refuses another folder's cluster that still exists; ``owner`` is a path, or empty for none."""
    if owner and owner != str(state_directory()) and marker(Path(owner)).exists():
        raise ClusterError(
            f"The cluster of this machine is in {owner} and not in {state_directory()}: "
            f"set LEYDEN_CLUSTER_STATE={owner}, or take it down first."
        )


def check_folder() -> None:
    """Refuses a folder with somebody else's files."""
    directory = state_directory()
    if directory.exists() and any(directory.iterdir()) and not marker(directory).exists():
        raise ClusterError(
            f"{directory} holds files that are no cluster's; LEYDEN_CLUSTER_STATE must name an empty one."
        )


def claim() -> None:
    """Make the folder, and this machine's cluster its."""
    check_folder()
    state_directory().mkdir(parents=True, exist_ok=True)
    marker(state_directory()).touch()
    OWNER.write_text(str(state_directory()))


def release() -> None:
    """Remove the folder, its marker last, so that a removal which was cut off can go on."""
    check_folder()
    directory = state_directory()
    if directory.exists():
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != marker(directory):
                path.unlink()
        marker(directory).unlink(missing_ok=True)
        directory.rmdir()
    OWNER.write_text("")
