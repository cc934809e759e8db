"""A rank's side of elastic training: tell the agent how far training is, and stop together when it asks.

Ranks and agent share a directory (``LEYDEN_RANK_DIR``): ``step`` counts in 8 bytes all that is done, so that a hang
shows; ``events.jsonl`` is what rank 0 reports; a file ``stop`` is the agent's request to commit a checkpoint and end;
``served`` lists digests of checkpoints, one a line, that services use.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist

from leyden.agent.warm import STEP
from leyden.strategies import Strategy

if TYPE_CHECKING:
    from leyden.trainer import Trainer
    from leyden_contract.wire import Checkpoints, Progress

PROGRESS_SECONDS = 1.0
AGREE_SECONDS = 0.1
MOST_STEPS = 10
"""Between two agreements, for steps may become slower at any time."""


class Agreement:
    """Lets every rank act on the same step when any one of them has a reason to.

    Flags are combined by an asynchronous all-reduce over gloo, started at one step and read at the next, so that no
    rank waits and no GPU is synchronised. Its threads still take processor time from the ranks, so where steps are
    short it is started once in ``AGREE_SECONDS`` only. How many steps that are, the ranks learn by the same message.
    """

    def __init__(self, strategy: Strategy):
        self._strategy = strategy
        self._alone = strategy.world_size == 1
        self._pending: tuple[torch.Tensor, Any] | None = None
        self._steps = self._next = 0
        self._started = -math.inf

    def exchange(self, *flags: bool) -> tuple[bool, ...]:
        """Give this rank's flags at a step; get those that any rank gave when they were last combined, once (alone:
        at this step)."""
        if self._alone:
            return flags
        agreed = self._take(len(flags))
        # These flags may be given for the reason that was just agreed on, and would make all act on it twice.
        if self._steps >= self._next and not any(agreed):
            self._start(flags)
        self._steps += 1
        return agreed

    def _start(self, flags: tuple[bool, ...]) -> None:
        now = time.monotonic()
        step_seconds = max((now - self._started) / max(self._steps, 1), AGREE_SECONDS / MOST_STEPS)
        tensor = torch.tensor((*flags, step_seconds))
        self._steps, self._started = 0, now
        work = dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._strategy.control, async_op=True)
        self._pending = (tensor, work)

    def _take(self, count: int) -> tuple[bool, ...]:
        if self._pending is None:
            return (False,) * count
        tensor, work = self._pending
        work.wait()
        self._pending = None
        *flags, step_seconds = tensor.tolist()
        self._next = round(AGREE_SECONDS / step_seconds)
        return tuple(bool(flag) for flag in flags)

    def close(self) -> None:
        """Wait for what is under way, so that no rank leaves a collective call unanswered."""
        self._take(0)


class StopSignal:
    """Signals as flags while a ``with`` block runs, so that training ends between two steps and not within one.

    SIGTERM ends it. So does the signal ``requeue``, unless the program handles that itself, for SLURM to start the job
    again. Only Python's main thread may handle signals; elsewhere they do what they did. A handler that was there is
    called too. A SIGTERM that nobody acted on when the block ends takes effect then.
    """

    def __init__(self, requeue: signal.Signals | None = None) -> None:
        self._requeue = requeue
        self._before: dict[int, Any] = {}
        self.forget()

    def forget(self) -> None:
        """As if no signal had come."""
        self.received = self.asks_for_requeue = False

    def __enter__(self) -> None:
        self.forget()
        if threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGTERM]
        if self._requeue is not None and signal.getsignal(self._requeue) is signal.SIG_DFL:
            numbers.append(self._requeue)
        self._before = {number: signal.signal(number, self._note) for number in numbers}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
        if self.received and not self.asks_for_requeue and kind is None and not callable(before.get(signal.SIGTERM)):
            os.kill(os.getpid(), signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        self.asks_for_requeue = self.asks_for_requeue or number == self._requeue
        if callable(before := self._before.get(number)):
            before(number, frame)


class RankDirectory:
    """The directory that this rank shares with its agent."""

    def __init__(self, path: Path, reports: bool):
        self.path = path
        self._stop = path / "stop"
        self._reports = reports
        self._next_progress = 0.0
        self._since: tuple[float, int] | None = None
        self._one_at_a_time = threading.Lock()
        """Progress is written by the training's thread, checkpoints by the one that saves."""
        with (path / "step").open("a+b") as file:
            file.truncate(STEP.size)
            self._counter = mmap.mmap(file.fileno(), STEP.size)

    def tick(self) -> None:
        """Show that another batch, of whatever stage, or another checkpoint is done."""
        (done,) = STEP.unpack_from(self._counter)
        STEP.pack_into(self._counter, 0, done + 1)

    def stop_requested(self) -> bool:
        """Whether the agent asks to stop."""
        return self._stop.exists()

    def served(self) -> frozenset[str] | None:
        """Digests of checkpoints that services use; ``None`` while that is not known."""
        listed = self.path / "served"
        return frozenset(listed.read_text().split()) if listed.exists() else None

    def progress(self, trainer: Trainer, now: bool = False) -> None:
        """Report progress, at most once a second unless ``now``."""
        clock = time.monotonic()
        if not self._reports or (clock < self._next_progress and not now):
            return
        self._next_progress = clock + PROGRESS_SECONDS
        self._write(progress=self._progress(trainer, clock))

    def _progress(self, trainer: Trainer, clock: float) -> Progress:
        from leyden_contract.wire import Progress

        step = trainer.global_step
        before, self._since = self._since, (clock, step)
        speed = (step - before[1]) / (clock - before[0]) if before is not None and clock > before[0] else None
        left = trainer.steps_left
        known = math.isfinite(left) and step + left > 0
        samples = trainer.samples_per_step
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return Progress(
            epoch=trainer.current_epoch,
            step=step,
            total_steps=step + int(left) if known else None,
            percent=round(100 * step / (step + left), 2) if known else None,
            remaining_seconds=round(left / speed, 1) if known and speed else None,
            samples_per_second=round(speed * samples, 1) if speed and samples else None,
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            reported_at=datetime.now(UTC),
        )

    def checkpoints(self, checkpoints: Checkpoints) -> None:
        """Report what is on disk, at once."""
        if self._reports:
            self._write(checkpoints=checkpoints)

    def _write(self, progress: Progress | None = None, checkpoints: Checkpoints | None = None) -> None:
        from leyden_contract.wire import Event

        event = Event(progress=progress, checkpoints=checkpoints)
        with self._one_at_a_time, (self.path / "events.jsonl").open("a") as file:
            file.write(event.model_dump_json() + "\n")
