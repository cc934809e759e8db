"""Running commands, and the one kind of error that people see."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]


class BuildError(Exception):
    """Something the user can do something about, in one sentence."""


def cache_directory() -> Path:
    """``$LEYDEN_CACHE``, default ``~/.cache/leyden``."""
    return Path(os.environ.get("LEYDEN_CACHE") or Path.home() / ".cache" / "leyden")


@contextmanager
def alone(name: str, say: Say) -> Iterator[None]:
    """Hold the lock of that name in the cache directory, after whoever has it now."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {lock.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command with its output shown.

    Raises:
        BuildError: it is missing or failed.
    """
    try:
        ran = subprocess.run(command, check=False, env={**os.environ, **(env or {})})
    except FileNotFoundError:
        raise BuildError(f"The command {command[0]!r} is not installed.") from None
    if ran.returncode:
        raise BuildError(f"`{' '.join(command)}` failed with exit code {ran.returncode}.")


def output(*command: str) -> str:
    """Standard output of a command; empty where it fails."""
    try:
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
