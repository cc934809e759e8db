"""How a run's checkpoints get written: at once or behind its back, one at a time, and what happens when one cannot be.

A full disk must not end a training run that may outlive it: the failure is said once, training goes on with the
checkpoint before, and only a run whose last checkpoint could not be written fails.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from leyden.checkpoint.staging import Staging
from leyden.errors import CheckpointStorage, LeydenError, Superseded

if TYPE_CHECKING:
    from leyden.trainer import Trainer

Contents = dict[str, Any]


class Saving:
    """The saves of one callback. ``asynchronous``: training waits for a copy in host memory only.

    A thread is enough for the rest: torch's serializer, the hash and the file system let go of the interpreter's lock.
    """

    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self.problem: LeydenError | None = None
        """Why the last save failed, on all ranks."""
        self._staging = Staging()
        self._writer: ThreadPoolExecutor | None = None
        """One thread, kept until the run ends: to start one is to wait until it runs."""
        self._under_way: Future[None] | None = None
        self._handed_over = False
        self._warned = False

    def save(self, trainer: Trainer, contents: Contents, write: Callable[[Contents], None]) -> None:
        """Let rank 0 ``write`` the contents. A collective call, which waits for the save before this one.

        The contents are this method's from then on: it may clear them.
        """
        self.settle(trainer)
        self._handed_over, self.problem = True, None
        if trainer.is_global_zero:
            staged = contents
            if self.asynchronous:
                staged = self._staging.copy(contents)
                # To free a tensor is to offer the interpreter's lock, which the writer, once it runs, keeps for long.
                contents.clear()
            self._writer = self._writer or ThreadPoolExecutor(1, "checkpoint")
            self._under_way = self._writer.submit(write, staged)
        if not self.asynchronous:
            self.settle(trainer)

    def settle(self, trainer: Trainer) -> None:
        """Wait until what was handed over is durable. A collective call: all ranks learn in it how that went.

        Warns of the first failure. Raises ``Superseded``, which ends the run.
        """
        if not self._handed_over:
            return
        self._handed_over = False
        self.problem = trainer.strategy.broadcast(self._outcome() if trainer.is_global_zero else None)
        if isinstance(self.problem, Superseded):
            raise self.problem
        if self.problem is not None and not self._warned:
            self._warned = True
            trainer.warn(f"{self.problem}; training goes on")

    def finish(self, trainer: Trainer) -> None:
        """At the end of a run: wait, and raise where the last save failed. A collective call."""
        self.settle(trainer)
        self._let_go()
        if self.problem is not None:
            raise self.problem

    def abandon(self, trainer: Trainer) -> None:
        """When a run breaks: let the save under way end, without a word from ranks that may be gone."""
        self._handed_over = False
        if (problem := self._outcome()) is not None:
            trainer.warn(str(problem))
        self._let_go()

    def _let_go(self) -> None:
        """Of the buffers and the thread, which is idle by now."""
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None
        self._staging.close()

    def _outcome(self) -> LeydenError | None:
        under_way, self._under_way = self._under_way, None
        try:
            if under_way is not None:
                under_way.result()
        except (CheckpointStorage, Superseded) as error:
            return error
        return None
