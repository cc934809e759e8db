"""Starts the other processes of this node by itself: the command that runs, once more for each of the other ranks.

This process is the node's first rank. A rank that fails ends them all, and none outlives this process.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time

from leyden.agent.machine import free_port, threads
from leyden.agent.warm import die_with_parent
from leyden.environments import World
from leyden_contract import exit_codes

STARTED_BY = "LEYDEN_STARTED_BY"
"""Holds the process id of the rank that started the others, in all of them."""

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0
"""How long a rank has, after another failed, to end by an error of its own."""

SETTLE_SECONDS = 1.0
"""How long this process, ended by an exception, waits for the rank whose end may be the cause."""

ENDED_WELL = (exit_codes.FINISHED, exit_codes.STOPPED)


def can_run_again() -> bool:
    """Whether there is a command that would run this program again: not so in a notebook or a Python prompt."""
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        return False
    return hasattr(sys.modules["__main__"], "__file__") or "-c" in sys.orig_argv


def started_by_a_sibling() -> bool:
    """Whether this process is one of those that :class:`Siblings` started, or started them."""
    return STARTED_BY in os.environ


def follow_sibling() -> None:
    """End with the process that started this one, however that ends."""
    starter = os.environ.get(STARTED_BY)
    if starter in (None, str(os.getpid())):
        return
    die_with_parent()
    if str(os.getppid()) != starter:
        raise SystemExit("the process that started this rank is gone")


class Siblings(threading.Thread):
    """The other ranks of this node, and the thread that watches them."""

    def __init__(self, world: World):
        super().__init__(name="leyden-ranks", daemon=True)
        self._world = world
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._started = threading.Event()
        self._leaving = threading.Event()
        self._ended_by_us = False
        self._problem: OSError | None = None

    def launch(self) -> None:
        """Make this process the first rank and start the others. Raises ``OSError``."""
        os.environ.update(self._variables())
        if "OMP_NUM_THREADS" not in os.environ:
            import torch

            count = threads(self._world.local_world_size)
            os.environ["OMP_NUM_THREADS"] = str(count)
            torch.set_num_threads(count)
        atexit.register(self._leave)
        self.start()
        self._started.wait()
        if self._problem is not None:
            raise self._problem

    def _variables(self) -> dict[str, str]:
        world = self._world
        return {
            STARTED_BY: str(os.getpid()),
            "RANK": str(world.global_rank),
            "LOCAL_RANK": "0",
            "WORLD_SIZE": str(world.world_size),
            "LOCAL_WORLD_SIZE": str(world.local_world_size),
            "MASTER_ADDR": os.environ.get("MASTER_ADDR", "127.0.0.1"),
            "MASTER_PORT": os.environ.get("MASTER_PORT") or str(free_port()),
        }

    def run(self) -> None:
        # In this thread, because the kernel ends the processes with the thread that started them.
        try:
            for local in range(1, self._world.local_world_size):
                rank = self._world.global_rank + local
                place = {"RANK": str(rank), "LOCAL_RANK": str(local)}
                command = [sys.executable, *sys.orig_argv[1:]]
                self._processes[rank] = subprocess.Popen(command, env={**os.environ, **place})
        except OSError as error:
            self._problem = error
            self._end()
            return
        finally:
            self._started.set()
        self._watch()

    def _watch(self) -> None:
        running = dict(self._processes)
        while running:
            for rank, process in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[rank]
                if code not in ENDED_WELL and not self._ended_by_us:
                    self._fail(rank, code if code > 0 else 128 - code)
            time.sleep(POLL_SECONDS)

    def _fail(self, rank: int, code: int) -> None:
        """End everything, with a failed rank's exit code."""
        self._end()
        # This process may be in a call that never returns, so it has some seconds to end by an error of its own.
        self._leaving.wait(GRACE_SECONDS)
        sys.stdout.flush()
        print(f"rank {rank} failed first, with exit code {code}: its error is above", file=sys.stderr, flush=True)
        os._exit(code)

    def _end(self) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _leave(self) -> None:
        """This process ends: well, then so will the others; by an exception, then they have nothing to wait for."""
        self._leaving.set()
        self.join(SETTLE_SECONDS if failing() else None)
        if self.is_alive():
            self._ended_by_us = True
            self._end()


def failing() -> bool:
    """Whether this process ends by an exception that nobody caught."""
    return getattr(sys, "last_value", None) is not None
