"""Keys that wait to be reconciled: each at most once at a time, never lost, later when it failed."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
MAX_BACKOFF = 60.0


class Key(NamedTuple):
    """A resource by kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


Reconcile = Callable[[Key], Awaitable[timedelta | None]]


class KeyQueue:
    """Runs ``reconcile`` for keys that are due.

    A key that is added while it is reconciled is reconciled once more afterwards. One whose reconciliation raised comes
    again after a growing pause with jitter.
    """

    def __init__(self, reconcile: Reconcile, workers: int = 8, clock: Callable[[], float] = time.monotonic) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._running: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have a key reconciled in ``after`` seconds, or earlier if it was due earlier."""
        due = self._clock() + after
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._changed.set()

    def forget(self, key: Key) -> None:
        """The object is gone: its key need not wait any more."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    @property
    def depth(self) -> int:
        """Keys that are due and wait."""
        now = self._clock()
        return sum(due <= now for key, due in self._due.items() if key not in self._running)

    def longest_wait(self) -> float:
        """Seconds that the oldest due key has waited, or the longest reconciliation has run."""
        now = self._clock()
        waits = [now - due for key, due in self._due.items() if key not in self._running]
        return max([0.0, *waits, *(now - began for began in self._running.values())])

    async def run(self) -> None:
        """Reconcile for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._running[key] = self._clock()
            try:
                again = await self._reconcile(key)
                self._failures.pop(key, None)
                if again is not None:
                    self.add(key, again.total_seconds())
            except Exception as error:  # noqa: BLE001  one resource's trouble must not end the others'
                self._retry(key, error)
            finally:
                del self._running[key]
                self._changed.set()

    def _retry(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
        log.warning("%s: %s: %s; again in %.1f s", key, type(error).__name__, error, pause, exc_info=failures == 3)
        self.add(key, pause)

    async def _next(self) -> Key:
        """The key that has been due for longest, once there is one that nobody works on."""
        while True:
            self._changed.clear()
            ready = [(due, key) for key, due in self._due.items() if key not in self._running]
            if ready and (soonest := min(ready))[0] <= self._clock():
                del self._due[soonest[1]]
                return soonest[1]
            pause = min(ready)[0] - self._clock() if ready else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue
