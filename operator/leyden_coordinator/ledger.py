"""What broke a round, and the ledger in which each cause is booked once.

A pod that dies takes its connections with it, so ranks elsewhere fail too. Their failures are held until every member
of the broken round came back or is known to be gone: only if all came back it was a rank's own failure.
"""

from datetime import datetime

from leyden_contract.wire import Booking, Cause, Failure, Notice
from leyden_coordinator.state import UNEXPLAINED, Outcome, State

ECHOES = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Socket")
"""Parts of the messages by which torch says that another process is gone."""


def budget_left(state: State) -> int:
    """Failures that the run may still survive; at least 0."""
    return max(0, state.budget - _failures(state))


def _failures(state: State) -> int:
    return sum(booking.cause is Cause.FAILURE for booking in state.ledger)


def book(state: State, key: str, cause: Cause, now: datetime, reason: str = "") -> None:
    """Enter a restart once. A failure beyond the budget ends the run."""
    if state.outcome or any(booking.key == key for booking in state.ledger):
        return
    state.ledger.append(Booking(key=key, cause=cause, at=now, reason=reason))
    if _failures(state) > state.budget:
        state.outcome = Outcome.FAILED


def break_round(state: State, notice: Notice) -> None:
    """Tell the members to end their ranks. ``ABORT`` outweighs ``REFORM``."""
    if state.notice is not Notice.ABORT:
        state.notice = notice


def fail(state: State, failure: Failure, now: datetime) -> None:
    """Take a rank's failure. Failures of older rounds, and echoes of a break that has a cause, are not counted."""
    if state.outcome or failure.round != state.round:
        return
    explained = state.notice is not Notice.NONE and not state.pending
    break_round(state, Notice.ABORT)
    if not failure.retryable:
        state.first_failure = failure
        book(state, _round_key(state), Cause.FAILURE, now, failure.reason)
        state.outcome = Outcome.FAILED
    elif not explained:
        state.pending.append(failure)


def depart(state: State, uid: str, cause: Cause, now: datetime, reason: str) -> None:
    """Book that a member of the newest round goes or is gone. It explains the failures held for that round."""
    if cause is Cause.FAILURE:
        own = [failure for failure in state.pending if failure.pod_uid == uid]
        state.first_failure = own[0] if own else None
        book(state, _round_key(state), cause, now, own[0].reason if own else reason)
    else:
        book(state, f"pod-{uid}", cause, now, reason)
    state.pending.clear()
    state.unexplained.pop(uid, None)


def announce(state: State, uid: str, now: datetime) -> None:
    """A member says that it was told to end. The operator will say why, see :func:`settle`."""
    state.unexplained.setdefault(uid, now)
    state.pending.clear()


def settle(state: State, now: datetime) -> None:
    """Book what is certain by now."""
    for uid, since in list(state.unexplained.items()):
        if now - since >= UNEXPLAINED:
            depart(state, uid, Cause.PREEMPTION, now, "Terminated")
    if state.pending and not state.members:
        first = min(state.pending, key=lambda failure: (_is_echo(failure), failure.at))
        state.first_failure = first
        book(state, _round_key(state), Cause.FAILURE, now, first.reason)
        state.pending.clear()


def _is_echo(failure: Failure) -> bool:
    return failure.reason.startswith("Dist") or any(part in failure.message for part in ECHOES)


def _round_key(state: State) -> str:
    return f"round-{state.round}"
