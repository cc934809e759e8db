"""This pod's ranks of one round: started from the warm parent, watched, asked to stop, killed.

The warm parent is multiprocessing's fork server with torch imported, so that a new rank costs a fork instead of seconds
of imports. It imports only: CUDA is never initialised before the fork.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from leyden.agent import machine, rank, warm
from leyden.agent.settings import Settings
from leyden_contract import environment, exit_codes
from leyden_contract.launch import CheckpointPlan
from leyden_contract.wire import Failure, RoundAssignment

POLL_SECONDS = 0.1
STOP_SECONDS = 45.0
"""How long ranks may take to commit a checkpoint and stop. Below the pod's grace period of 60 s."""

_log_lock = threading.Lock()


def warm_up(local_world_size: int) -> None:
    """Start the warm parent and wait until it has imported everything.

    Its OpenMP reads the number of threads while torch is imported, so that is set first.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(machine.threads(local_world_size)))
    multiprocessing.set_forkserver_preload(["leyden.agent.warm_parent", "leyden.agent.rank"])
    process = multiprocessing.get_context("forkserver").Process(target=warm.ready)
    process.start()
    process.join()


@dataclass
class Rank:
    """One process, its directory and the thread that prefixes its output."""

    number: int
    local: int
    directory: Path
    process: ForkServerProcess
    printer: threading.Thread
    ended: datetime | None = None
    terminated: bool = False

    @property
    def code(self) -> int | None:
        """Exit code, negative for a signal; ``None`` while it runs."""
        code = self.process.exitcode
        if code is not None and self.ended is None:
            self.ended = datetime.now(UTC)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the rank and what it started."""
        if self.process.pid is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            if self.code is None:
                os.kill(self.process.pid, number)


@dataclass
class Ranks:
    """The ranks of a round on this pod."""

    settings: Settings
    assignment: RoundAssignment
    ranks: list[Rank] = field(default_factory=list)
    oom_kills: int = 0
    stop_by: float | None = None
    """When ranks that were asked to stop must have ended, by the monotonic clock."""

    def directory(self, local: int) -> Path:
        """What a rank shares with us."""
        return self.settings.directory / f"round-{self.assignment.round}" / str(local)

    def start(self) -> None:
        """Start all ranks."""
        self.oom_kills = machine.oom_kills()
        for local in range(self.settings.request.local_world_size):
            self.ranks.append(self._start(local))

    def _start(self, local: int) -> Rank:
        number = self.assignment.rank_offset + local
        directory = self.directory(local)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        plan = os.environ.get(environment.CHECKPOINT)
        launch = rank.Launch(
            run=self.settings.run,
            checkpoint=CheckpointPlan.model_validate_json(plan) if plan else None,
            directory=directory,
            environment=variables(self.settings, self.assignment, local, directory),
        )
        context = multiprocessing.get_context("forkserver")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=rank.main, args=(launch, writer), name=f"rank-{number}")
        process.start()
        writer.close()
        printer = threading.Thread(target=_print_lines, args=(reader, f"[rank {number}] ".encode()), daemon=True)
        printer.start()
        return Rank(number, local, directory, process, printer)

    def wait(self) -> None:
        """Return when a rank ends, at the latest after ``POLL_SECONDS``."""
        running = [one.process.sentinel for one in self.ranks if one.code is None]
        if running:
            connection.wait(running, POLL_SECONDS)
        else:
            time.sleep(POLL_SECONDS)

    @property
    def done(self) -> bool:
        """Whether all ranks have ended."""
        return all(one.code is not None for one in self.ranks)

    @property
    def finished(self) -> bool:
        """Whether all ranks ended by their own rules, none because it was told to."""
        return all(one.code == exit_codes.FINISHED and not one.terminated for one in self.ranks)

    def steps(self) -> tuple[int, ...]:
        """The step counters of all ranks, 0 where a rank keeps none."""
        return tuple(_read_step(one.directory / "step") for one in self.ranks)

    def ask_to_stop(self) -> None:
        """Ask the ranks to commit a checkpoint and end.

        A rank without a step counter does not know Leyden (or has nothing to save yet) and gets SIGTERM instead.
        """
        self.stop_by = time.monotonic() + STOP_SECONDS
        for one in self.ranks:
            (one.directory / "stop").touch()
            if one.code is None and not (one.directory / "step").exists():
                one.terminated = True
                one.signal(signal.SIGTERM)

    def tell_served(self, digests: tuple[str, ...]) -> None:
        """Pass on to the rank that prunes checkpoints which of them services use; it reads the list whole."""
        unfinished = self.directory(0) / ".served"
        unfinished.write_text("\n".join(digests))
        unfinished.replace(self.directory(0) / "served")

    @property
    def overdue(self) -> bool:
        """Whether the ranks were asked to stop, and had the time for it."""
        return self.stop_by is not None and time.monotonic() > self.stop_by

    def kill(self) -> None:
        """End all ranks and what they started, now."""
        for one in self.ranks:
            one.signal(signal.SIGKILL)
        for one in self.ranks:
            one.process.join()
            one.printer.join(timeout=1)

    def failures(self) -> list[Failure]:
        """What the ranks that ended badly left behind, the first one first."""
        well = (None, exit_codes.FINISHED, exit_codes.STOPPED)
        bad = [one for one in self.ranks if one.code not in well and not one.terminated]
        return sorted((self.describe(one) for one in bad), key=lambda failure: failure.at)

    def stops(self) -> list[Failure]:
        """Ranks that stopped as if asked to. Not empty once all ranks are done and not all finished."""
        return [self.describe(one) for one in self.ranks if one.code != exit_codes.FINISHED]

    def describe(self, one: Rank) -> Failure:
        """How a rank ended, from its own words or from its exit code."""
        code = one.code or 0
        request = self.settings.request
        left = one.directory / rank.FAILURE_FILE
        ending = rank.Ending.model_validate_json(left.read_text()) if left.exists() else self._by_code(one, code)
        return Failure(
            pod=request.pod,
            pod_uid=request.pod_uid,
            node=request.node,
            round=self.assignment.round,
            rank=one.number,
            local_rank=one.local,
            exit_code=code if code >= 0 else None,
            signal=signal.Signals(-code).name if code < 0 else None,
            **ending.model_dump(),
        )

    def _by_code(self, one: Rank, code: int) -> rank.Ending:
        misconfigured = code == exit_codes.MISCONFIGURED
        if code >= 0:
            reason, message = "Misconfigured" if misconfigured else "ExitCode", f"exit code {code}"
        elif code == -signal.SIGKILL and machine.oom_kills() > self.oom_kills:
            reason, message = "OOMKilled", "killed by the kernel: the pod's memory limit was reached"
        else:
            reason, message = "Killed", f"killed by {signal.Signals(-code).name}"
        at = one.ended or datetime.now(UTC)
        return rank.Ending(reason=reason, message=message, at=at, retryable=not misconfigured)


def variables(settings: Settings, assignment: RoundAssignment, local: int, directory: Path) -> dict[str, str]:
    """torchrun's contract with its processes, and where the rank finds its agent."""
    number = str(assignment.rank_offset + local)
    size = str(assignment.world_size)
    return {
        "LOCAL_RANK": str(local),
        "RANK": number,
        "GROUP_RANK": str(assignment.node_rank),
        "ROLE_RANK": number,
        "ROLE_NAME": "default",
        "LOCAL_WORLD_SIZE": str(settings.request.local_world_size),
        "WORLD_SIZE": size,
        "GROUP_WORLD_SIZE": str(assignment.nodes),
        "ROLE_WORLD_SIZE": size,
        "MASTER_ADDR": assignment.master_address,
        "MASTER_PORT": str(assignment.master_port),
        "TORCHELASTIC_RESTART_COUNT": str(assignment.round),
        "TORCHELASTIC_MAX_RESTARTS": str(assignment.round + assignment.budget_left),
        "TORCHELASTIC_RUN_ID": settings.run_id,
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_ERROR_FILE": str(directory / "error.json"),
        environment.RANK_DIR: str(directory),
    }


def _read_step(path: Path) -> int:
    if not path.exists():
        return 0
    content = path.read_bytes()
    return int(warm.STEP.unpack(content)[0]) if len(content) == warm.STEP.size else 0


def _print_lines(reader: connection.Connection, prefix: bytes) -> None:
    """Copy a rank's output to ours, each line with its rank, until the rank and its children have closed it."""
    with os.fdopen(os.dup(reader.fileno()), "rb") as lines:
        reader.close()
        for line in lines:
            with _log_lock:
                sys.stdout.buffer.write(prefix + line.rstrip(b"\n") + b"\n")
                sys.stdout.buffer.flush()
