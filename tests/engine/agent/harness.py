"""A real coordinator and real agents on this machine, with the test in the operator's place."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

from leyden_contract.wire import Booking, Cause, Departure, Membership, Report, RunPhase

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("train_script.py")
TOKEN = "a-token"
Seen = TypeVar("Seen")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Run:
    """One run. ``agents`` are processes by name; everything that they print is in ``directory``."""

    def __init__(
        self, directory: Path, least: int = 1, most: int = 3, budget: int = 0, script: Path = SCRIPT, args: str = ""
    ) -> None:
        self.directory = directory
        self.log = directory / "steps.log"
        self.run = {"script": {"path": str(script), "args": ["--log", str(self.log), *args.split()]}}
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("contract", "operator", "trainer-image")),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "LEYDEN_TOKEN": TOKEN,
            "LEYDEN_RUN_ID": f"uid-{self.port}-0",
            "LEYDEN_NODES_MIN": str(least),
            "LEYDEN_NODES_MAX": str(most),
            "LEYDEN_RESTART_BUDGET": str(budget),
            "LEYDEN_LEDGER": str(directory / "ledger.json"),
            "LEYDEN_PORT": str(self.port),
            "LEYDEN_COORDINATOR": f"http://127.0.0.1:{self.port}",
            "TMPDIR": str(directory),
        }

    def __enter__(self) -> "Run":
        self.start_coordinator()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait()

    def start_coordinator(self) -> None:
        self._start("coordinator", "leyden_coordinator", {})
        self.until("the coordinator answers", self._answers, 20)

    def start(self, name: str, index: int, processes: int = 1, **more: str) -> None:
        """Start an agent; its pod UID is its name."""
        own = {
            "LEYDEN_POD_NAME": name,
            "LEYDEN_POD_UID": name,
            "LEYDEN_POD_IP": "127.0.0.1",
            "LEYDEN_NODE_NAME": f"node-{index}",
            "LEYDEN_NODE_INDEX": str(index),
            "LEYDEN_PROCESSES_PER_NODE": str(processes),
            "LEYDEN_RUN": json.dumps(self.run),
        }
        self._start(name, "leyden.agent", {**own, **more})

    def _start(self, name: str, module: str, more: dict[str, str]) -> None:
        with (self.directory / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**self.environment, **more},
                cwd=self.directory,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        """What the kernel does to a pod that is gone: its agent dies, and its ranks with it."""
        self.processes[name].kill()

    def terminate(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGTERM)

    def kill_rank(self, name: str) -> None:
        """SIGKILL to the agent's ranks alone, as the kernel does for memory."""
        warm = [pid for pid in _children(self.processes[name].pid) if _children(pid)]
        for rank in (child for pid in warm for child in _children(pid)):
            os.kill(rank, signal.SIGKILL)

    def code(self, name: str, seconds: float = 30) -> int:
        """Exit code of a process, waiting for it."""
        return self.until(f"{name} ends", lambda: _some(self.processes[name].poll()), seconds)[0]

    def report(self) -> Report:
        return Report.model_validate_json(self._call("GET", "/v1/report"))

    def tell(self, expected: str, least: int = 1, most: int = 3, **departures: Any) -> None:
        """The operator's word: UIDs and ``served`` digests by spaces, ``draining``/``lost`` as ``{uid: cause}``."""
        message = Membership(
            min=least,
            max=most,
            expected=tuple(expected.split()),
            suspend=departures.pop("suspend", False),
            served=tuple(departures.pop("served", "").split()),
            **{
                kind: tuple(Departure(pod_uid=uid, cause=cause) for uid, cause in gone.items())
                for kind, gone in departures.items()
            },
        )
        self._call("PUT", "/v1/membership", message.model_dump_json().encode())

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = Request(f"http://127.0.0.1:{self.port}{path}", body, {"Authorization": f"Bearer {TOKEN}"})
        request.method = method
        with urlopen(request, timeout=5) as response:
            content: bytes = response.read()
        return content

    def _answers(self) -> bool:
        try:
            return bool(self._call("GET", "/healthz"))
        except OSError:
            return False

    def steps(self) -> list[tuple[float, int, int, int]]:
        """Steps that rank 0 made, as (time, round, world size, step)."""
        if not self.log.exists():
            return []
        rows = (line.split() for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n"))
        return [(float(at), int(number), int(world), int(step)) for at, number, world, step in rows]

    def trains(self, world: int, after: int = -1, seconds: float = 30) -> int:
        """Wait for a few steps of ``world`` ranks in a round later than ``after``; gives that round."""

        def found() -> int | None:
            rounds = [number for _, number, size, _ in self.steps() if size == world and number > after]
            return rounds[-1] if len(rounds) >= 3 and rounds[-1] == rounds[-3] else None

        return self.until(f"{world} ranks train in a round after {after}", lambda: _some(found()), seconds)[0]

    def booked(self) -> dict[Cause, int]:
        ledger: tuple[Booking, ...] = self.report().ledger
        return {cause: sum(one.cause is cause for one in ledger) for cause in {one.cause for one in ledger}}

    def phase(self, wanted: RunPhase, seconds: float = 30) -> Report:
        self.until(f"the run is {wanted}", lambda: self.report().phase is wanted, seconds)
        return self.report()

    def until(self, what: str, seen: Callable[[], Seen | None], seconds: float) -> Seen:
        """Poll until ``seen`` gives something true. Fails with all that was printed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := seen():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {what}\n{self.everything()}")

    def everything(self) -> str:
        """All logs, the ledger and the last steps."""
        texts = [
            f"--- {path.name}\n{path.read_text()[-3000:]}"
            for path in sorted(self.directory.glob("*.log"))
            if path != self.log
        ]
        ledger = self.directory / "ledger.json"
        return "\n".join([*texts, "--- ledger", ledger.read_text() if ledger.exists() else "", str(self.steps()[-3:])])


def _some(found: int | None) -> tuple[int] | None:
    """Wraps a number, so that 0 counts as found."""
    return None if found is None else (found,)


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []
