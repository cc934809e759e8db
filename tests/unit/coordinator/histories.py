"""Shorthand for histories of a run: who joins, beats and goes, and when."""

from datetime import UTC, datetime, timedelta

from leyden_contract.wire import (
    Cause,
    Departure,
    Failure,
    Gone,
    Heartbeat,
    JoinRequest,
    Leave,
    Membership,
    Notice,
    Outcome,
    RoundAssignment,
)
from leyden_coordinator import ledger, membership, rounds
from leyden_coordinator.state import Member, State, new

START = datetime(2026, 1, 1, tzinfo=UTC)


class History:
    """Plays messages to a state. Time passes by :meth:`passes` alone; agents that live keep beating meanwhile."""

    def __init__(self, least: int = 1, most: int = 3, budget: int = 1) -> None:
        self.state: State = new("uid-0", least, most, budget)
        self.now = START
        self.dead: set[str] = set()
        self.formed: list[list[Member]] = []
        """Members of each round as it formed, by rank."""

    def _advance(self) -> None:
        before = self.state.round
        rounds.advance(self.state, self.now)
        if self.state.round > before and self.state.members:
            self.formed.append(sorted(self.state.members.values(), key=lambda member: member.rank_offset))
            assert not set(self.state.members) & self.state.departing()

    def joins(self, *uids: str) -> "History":
        for uid in uids:
            request = JoinRequest(pod=uid, pod_uid=uid, index=ord(uid[0]) - ord("a"), address=uid, local_world_size=2)
            rounds.join(self.state, request, self.now)
            self._advance()
        return self

    def trains(self, *uids: str) -> "History":
        """Agents join one after the other and are heard once the round has formed."""
        self.expects(*uids).joins(*uids)
        assert set(self.state.members) == set(uids), self.state
        for uid in uids:
            self.beats(uid)
        return self

    def passes(self, seconds: float) -> "History":
        """Time, in which everyone who is not dead is heard."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now += timedelta(seconds=1)
            for uid, member in self.state.members.items():
                member.seen = member.seen if uid in self.dead else self.now
            for uid, joiner in self.state.waiting.items():
                joiner.seen = joiner.seen if uid in self.dead else self.now
            self._advance()
        return self

    def dies(self, *uids: str) -> "History":
        self.dead.update(uids)
        return self

    def beats(self, uid: str, step: int = 0, leaving: bool = False) -> Notice:
        beat = Heartbeat(pod_uid=uid, round=max(0, self.state.round), steps=(step, step), leaving=leaving)
        answer = rounds.heartbeat(self.state, beat, self.now)
        self._advance()
        return answer.notice

    def notices(self) -> dict[str, Notice]:
        return {uid: self.beats(uid) for uid in list(self.state.members)}

    def fails(
        self, uid: str, reason: str = "ValueError", message: str = "", round: int | None = None, retryable: bool = True
    ) -> "History":
        failure = Failure(
            pod=uid,
            pod_uid=uid,
            round=self.state.round if round is None else round,
            rank=0,
            reason=reason,
            message=message,
            at=self.now,
            retryable=retryable,
        )
        ledger.fail(self.state, failure, self.now)
        self._advance()
        return self

    def leaves(self, uid: str, outcome: Outcome) -> "History":
        rounds.leave(self.state, Leave(pod_uid=uid, round=max(0, self.state.round), outcome=outcome), self.now)
        self._advance()
        return self

    def expects(self, *uids: str, least: int | None = None, most: int | None = None, **more: object) -> "History":
        """The operator's word; ``lost`` and ``draining`` as ``{uid: cause}``."""
        before = self.state.membership
        gone = {
            kind: tuple(Departure(pod_uid=uid, cause=cause) for uid, cause in more.get(kind, {}).items())  # type: ignore[attr-defined]  # a dict
            for kind in ("lost", "draining")
        }
        told = Membership(
            min=least or before.min, max=most or before.max, expected=uids, suspend=bool(more.get("suspend")), **gone
        )
        membership.tell(self.state, told, self.now)
        self._advance()
        return self

    def answer(self, uid: str) -> RoundAssignment | Gone | None:
        return rounds.answer(self.state, uid, self.now)

    @property
    def booked(self) -> list[tuple[str, Cause]]:
        return [(booking.key, booking.cause) for booking in self.state.ledger]
