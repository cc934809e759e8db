"""Processes that outlive the command that started them, remembered so that only they are ever ended."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from leyden_cluster.settings import ClusterError, Node

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Component:
    """A process of the cluster: its name, command line, and the node whose network it lives in."""

    name: str
    command: tuple[str, ...]
    home: Path
    node: Node | None = None
    path: str = ""

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """Holds pid, start time and boot: a pid that was given to another process since is never mistaken for ours."""
        return self.home / "run" / f"{self.name}.json"


def run(*command: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a command that must succeed.

    Raises:
        ClusterError: with the command and what it said.
    """
    merged = {**os.environ, **(env or {})}
    try:
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=merged)
    except FileNotFoundError:
        raise ClusterError(
            f"The command {command[0]!r} is not installed; see `leyden_cluster prerequisites`."
        ) from None
    if ran.returncode:
        raise ClusterError(f"`{' '.join(command)}` failed: {(ran.stderr or ran.stdout).strip()}")
    return ran.stdout


def succeeds(*command: str) -> bool:
    """Whether a command ends with 0. Its output is of no interest."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def start(component: Component) -> None:
    """Start a component unless it runs already."""
    if is_running(component.record):
        return
    component.log.parent.mkdir(parents=True, exist_ok=True)
    component.record.parent.mkdir(parents=True, exist_ok=True)
    enter = ("nsenter", f"--net=/var/run/netns/{component.node.namespace}") if component.node else ()
    env = {**os.environ, "PATH": f"{component.path}:{os.environ['PATH']}" if component.path else os.environ["PATH"]}
    with component.log.open("ab") as log:
        process = subprocess.Popen(
            [*enter, *component.command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
    entry = {"pid": process.pid, "started": started_at(process.pid), "boot": boot_id()}
    part = component.record.with_suffix(".part")
    part.write_text(json.dumps(entry))
    part.rename(component.record)


def boot_id() -> str:
    """Changes when the machine starts: pids and start times of before mean nothing after."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_at(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, or ``None`` where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def recorded_pid(record: Path) -> int | None:
    """The pid of a recorded process that still lives."""
    try:
        entry = json.loads(record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    alive = entry["boot"] == boot_id() and started_at(entry["pid"]) == entry["started"] is not None
    return int(entry["pid"]) if alive else None


def is_running(record: Path) -> bool:
    return recorded_pid(record) is not None


def stop(record: Path, force: bool = False) -> None:
    """End a recorded process: SIGTERM, and SIGKILL when that did not help in time."""
    if (pid := recorded_pid(record)) is not None:
        end([pid], force)
    record.unlink(missing_ok=True)


def end(pids: Iterable[int], force: bool = False) -> None:
    """End processes and wait until they are gone.

    Raises:
        ClusterError: one of them outlives SIGKILL.
    """
    living = {pid: started_at(pid) for pid in pids}
    for signal_number in (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGKILL):
        for pid in living:
            send(pid, signal_number)
        deadline = time.monotonic() + STOP_SECONDS
        while living and time.monotonic() < deadline:
            living = {pid: began for pid, began in living.items() if began and started_at(pid) == began}
            time.sleep(0.02)
        if not living:
            return
    raise ClusterError(f"Processes {sorted(living)} do not end.")


def send(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return


def log_tail(component: Component, lines: int = 3) -> str:
    """The last lines of a component's log."""
    if not component.log.exists():
        return ""
    return "\n".join(component.log.read_text(errors="replace").splitlines()[-lines:])
