"""Hang detection: a round that stepped and then does not step any more, though all its agents are alive."""

from datetime import datetime, timedelta
from statistics import median

from leyden_contract.wire import Failure
from leyden_coordinator import ledger
from leyden_coordinator.state import Member, State

AT_LEAST = timedelta(seconds=60)
TIMES_MEDIAN = 10
REMEMBERED = 31


def observe(state: State, now: datetime) -> None:
    """Learn the pace from the members' step counters: ranks step together, so the foremost one stands for all."""
    pace = state.pace
    step = max((max(member.steps, default=0) for member in state.members.values()), default=0)
    if step <= pace.step:
        return
    if pace.changed:
        pace.seconds_per_step.append((now - pace.changed).total_seconds() / (step - pace.step))
        del pace.seconds_per_step[:-REMEMBERED]
    pace.step, pace.changed = step, now


def allowed(state: State) -> timedelta:
    """How long the round may go without a step."""
    known = state.pace.seconds_per_step
    return max(AT_LEAST, timedelta(seconds=TIMES_MEDIAN * median(known))) if known else AT_LEAST


def check(state: State, now: datetime) -> None:
    """Break a round that hangs, as a failure of the rank that is behind the others."""
    since = state.pace.changed
    running = [member for member in state.members.values() if not member.finished]
    if not (state.training and since and running) or now - since < allowed(state):
        return
    behind = _behind(running)
    state.hung_ranks = tuple(rank for rank, _, _ in behind)
    rank, local_rank, member = behind[0]
    request = member.request
    waited, limit = (span.total_seconds() for span in (now - since, allowed(state)))
    failure = Failure(
        pod=request.pod,
        pod_uid=request.pod_uid,
        node=request.node,
        round=state.round,
        rank=rank,
        local_rank=local_rank,
        reason="Hang",
        message=f"no step for {waited:.0f} s, where {limit:.0f} s are allowed",
        at=now,
    )
    ledger.fail(state, failure, now)


def _behind(members: list[Member]) -> list[tuple[int, int, Member]]:
    """The ranks with the fewest steps, as (rank, local rank, member). Not empty."""
    ranks = [
        (member.rank_offset + local, local, member, step)
        for member in members
        for local, step in enumerate(member.steps or (0,))
    ]
    least = min(step for *_, step in ranks)
    return sorted(
        ((rank, local, member) for rank, local, member, step in ranks if step == least), key=lambda found: found[0]
    )
