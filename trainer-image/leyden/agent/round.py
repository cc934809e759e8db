"""Watches the ranks of one round: obeys the coordinator's notices and decides what the way they ended means."""

import logging
import threading
import time
from enum import StrEnum

from leyden.agent.client import Client
from leyden.agent.heart import Heart
from leyden.agent.ranks import STOP_SECONDS, Ranks
from leyden_contract.wire import Failure, Leave, Notice, Outcome, in_one_line

UNASKED_SECONDS = 5.0
"""Ranks agree among themselves, so they may stop before this agent gets the notice. It comes in this time."""

SILENT_BEATS = 10
"""A finished agent that gets no answer so often is alone, and ends."""

log = logging.getLogger(__name__)


class Next(StrEnum):
    """What an agent does after a round."""

    JOIN = "join"
    STOPPED = "stopped"
    FINISHED = "finished"


class Round:
    """One round on this pod, from the start of its ranks to their end."""

    def __init__(self, ranks: Ranks, heart: Heart, client: Client, told_to_end: threading.Event) -> None:
        self.ranks = ranks
        self.heart = heart
        self.client = client
        self.told_to_end = told_to_end
        self.failed: Failure | None = None
        """The first failure of this round's ranks."""
        self._ended_at: float | None = None
        self._said_finished = False

    def run(self) -> Next:
        """Watch until it is certain what follows. Ranks may still run then, and are to be killed."""
        while True:
            self.ranks.wait()
            self._obey()
            if following := self._following():
                return following

    def leave(self, outcome: Outcome) -> None:
        """Say this pod's last word."""
        settings, number = self.ranks.settings, self.ranks.assignment.round
        self.client.leave(Leave(pod_uid=settings.request.pod_uid, round=number, outcome=outcome))

    def _obey(self) -> None:
        if self.told_to_end.is_set() and not self.heart.leaving:
            log.info("told to end: asking the ranks for a checkpoint")
            self.heart.leave()
        asked = self.heart.leaving or self.heart.notice in (Notice.REFORM, Notice.STOP)
        if asked and self.ranks.stop_by is None and not self.ranks.done:
            self.ranks.ask_to_stop()

    def _following(self) -> Next | None:
        """What follows, or ``None`` while that is not certain."""
        if self.heart.notice is Notice.ABORT:
            return self._leave_or_join()
        if failures := self.ranks.failures():
            return self._fail(failures)
        if self.ranks.done:
            return self._finished() if self.ranks.finished else self._stopped()
        if self.ranks.overdue:
            log.warning("the ranks did not stop within %.0f s", STOP_SECONDS)
            return self._leave_or_join()
        return None

    def _leave_or_join(self) -> Next:
        return Next.STOPPED if self.heart.leaving or self.heart.notice is Notice.STOP else Next.JOIN

    def _fail(self, failures: list[Failure]) -> Next:
        self.failed = failures[0]
        for failure in failures:
            log.error("rank %d failed: %s", failure.rank, in_one_line(failure.reason, failure.message))
            self.client.failure(failure)
        return self._leave_or_join()

    def _finished(self) -> Next | None:
        """Say so, and stay until all are: if another pod fails now, this one is needed again."""
        if not self._said_finished:
            self.leave(Outcome.FINISHED)
            self._said_finished = True
            self.heart.poke()
        if self.heart.leaving or self.heart.notice is Notice.STOP or self.heart.silent_beats >= SILENT_BEATS:
            return Next.FINISHED
        return Next.JOIN if self.heart.notice is Notice.REFORM and self._ended_since(UNASKED_SECONDS) else None

    def _stopped(self) -> Next | None:
        """Ranks that stopped unasked have heard of the reason before this agent did; without one it is a failure."""
        if self.ranks.stop_by is not None or self.heart.notice is not Notice.NONE or self.heart.leaving:
            return self._leave_or_join()
        return self._fail(self.ranks.stops()) if self._ended_since(UNASKED_SECONDS) else None

    def _ended_since(self, seconds: float) -> bool:
        self._ended_at = self._ended_at or time.monotonic()
        return time.monotonic() - self._ended_at >= seconds
