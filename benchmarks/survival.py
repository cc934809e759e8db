"""Ends training processes and counts how often the resumed run ends bit-equal to one that was left alone.

Each round forks the ranks from this process, which has imported torch, and ends one or all of them at a random moment:
by SIGKILL, after which the others must end by themselves, or by SIGTERM to the last rank alone, after which all must
say 75 and have committed a checkpoint. Then the run is started again. Weights, in bytes, are compared.

    python benchmarks/survival.py [--times 50] [--ranks 1 2]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "trainer-image", "tests")]

import torch  # noqa: E402  # after the path is set, as leyden needs it

from engine import jobs  # noqa: E402  # after the path is set
from leyden.agent.machine import free_port  # noqa: E402  # after the path is set
from leyden.checkpoint import store  # noqa: E402  # after the path is set
from leyden_contract import exit_codes  # noqa: E402  # after the path is set

EPOCHS = 8
COUNT = 200
"""Samples: enough for a run to last a good part of a second."""

PATIENCE_SECONDS = 60.0
"""How long ranks may take to end; one that still runs then hangs."""


@dataclass(frozen=True)
class Blow:
    """How a run is ended: a signal, and whether to all ranks or to the last alone."""

    name: str
    signal: signal.Signals
    to_all: bool = False


KILL_ALL = Blow("SIGKILL to all", signal.SIGKILL, to_all=True)
BLOWS = {
    1: (Blow("SIGKILL", signal.SIGKILL), Blow("SIGTERM", signal.SIGTERM)),
    2: (KILL_ALL, Blow("SIGKILL to rank 1", signal.SIGKILL), Blow("SIGTERM to rank 1", signal.SIGTERM)),
}


class Run:
    """The ranks of one training, which rank 0 ends by leaving its weights beside the checkpoints."""

    def __init__(self, directory: Path, ranks: int):
        self.directory = directory
        common = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.running = {
            rank: self._start({"RANK": str(rank), "LOCAL_RANK": str(rank), **common} if ranks > 1 else {})
            for rank in range(ranks)
        }
        self.codes: list[int] = [0] * ranks

    def _start(self, variables: dict[str, str]) -> int:
        """A process that trains to the end. Its id."""
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.environ.update(variables)
            log = os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = self._train(rank=int(variables.get("RANK", "0")))
        finally:
            os._exit(code)

    def _train(self, rank: int) -> int:
        torch.set_num_threads(1)
        try:
            found = jobs.train(str(self.directory / "steps"), epochs=EPOCHS, count=COUNT, steps=7)
        except SystemExit as ended:
            return int(ended.code or 0)
        except RuntimeError as error:
            print(f"rank {rank}: {error}", flush=True)
            return 1
        if rank == 0:
            torch.save(found["weights"], self.directory / "weights")
        return 0

    def strike(self, blow: Blow) -> None:
        for rank in list(self.running) if blow.to_all else [max(self.running)]:
            os.kill(self.running[rank], blow.signal)

    def finish(self) -> list[int]:
        """How the ranks ended: exit codes, or minus the signal. Raises ``TimeoutError`` where one hangs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.running:
            for rank, process in list(self.running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    self.codes[rank] = os.waitstatus_to_exitcode(status)
                    del self.running[rank]
            if time.monotonic() > deadline:
                left = list(self.running)
                for process in self.running.values():
                    os.kill(process, signal.SIGKILL)
                raise TimeoutError(f"ranks {left} still ran after {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.005)
        return self.codes

    def weights(self) -> bytes:
        return (self.directory / "weights").read_bytes()


@dataclass(frozen=True)
class Trial:
    """A number of ranks, and what a run of theirs that is left alone gives."""

    ranks: int
    whole: bytes
    seconds: float

    @classmethod
    def measure(cls, ranks: int) -> Trial:
        with tempfile.TemporaryDirectory() as name:
            began = time.monotonic()
            run = Run(Path(name), ranks)
            if any(codes := run.finish()):
                raise RuntimeError(f"a run left alone ended with {codes}: {(Path(name) / 'log').read_text()}")
            return cls(ranks, run.weights(), time.monotonic() - began)

    def problems(self, number: int, blow: Blow) -> list[str]:
        """What is wrong after one round, if anything."""
        try:
            return list(self._problems(number, blow))
        except TimeoutError as error:
            return [str(error)]

    def _problems(self, number: int, blow: Blow) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as name:
            run = Run(Path(name), self.ranks)
            time.sleep(random.Random(number).uniform(0.1, 0.95) * self.seconds)  # the moment is what is tried
            run.strike(blow)
            codes = run.finish()
            if not ended_as_told(codes, blow):
                yield f"it ended with {codes}"
            if any(codes):
                kept = store.choose(run.directory / "steps")
                if exit_codes.STOPPED in codes and kept.stored is None:
                    yield "it stopped without a checkpoint"
                if kept.skipped:
                    yield f"a checkpoint is damaged: {kept.skipped}"
                run = Run(Path(name), self.ranks)
                if any(codes := run.finish()):
                    yield f"the resumed run ended with {codes}: {(run.directory / 'log').read_text()}"
                    return
            if run.weights() != self.whole:
                yield "it ended with other weights"


def ended_as_told(codes: list[int], blow: Blow) -> bool:
    """Whether these are exit codes that the blow leads to. It may come before the first step and after the last."""
    if blow.signal is signal.SIGKILL:
        struck = codes if blow.to_all else codes[-1:]
        return set(struck) <= {-signal.SIGKILL, exit_codes.FINISHED} and set(codes) <= {-signal.SIGKILL, 0, 1}
    return set(codes) in ({exit_codes.FINISHED}, {exit_codes.STOPPED}) or codes[-1] == -signal.SIGTERM


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], choices=sorted(BLOWS))
    given = parser.parse_args()
    failed = 0
    for ranks in given.ranks:
        trial = Trial.measure(ranks)
        for blow in BLOWS[ranks]:
            rounds = [trial.problems(number, blow) for number in range(given.times)]
            wrong = [f"round {number}: {'; '.join(found)}" for number, found in enumerate(rounds) if found]
            score = f"{given.times - len(wrong)} of {given.times} ended bit-equal"
            print(f"ranks: {ranks}, {blow.name}: {score}", *wrong[:5], sep="\n  ", flush=True)
            failed += len(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
