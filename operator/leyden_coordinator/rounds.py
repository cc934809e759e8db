"""Who trains together: agents join, a round forms, runs, and breaks up when membership changes."""

import zlib
from datetime import datetime, timedelta

from leyden_contract.wire import (
    LAST_CALL_SECONDS,
    Cause,
    Gone,
    Heartbeat,
    HeartbeatReply,
    JoinRequest,
    Leave,
    Notice,
    RoundAssignment,
)
from leyden_contract.wire import Outcome as Ending
from leyden_coordinator import hang, ledger
from leyden_coordinator.state import FIRST_CALL, SILENT, STRANGER, Joiner, Member, Outcome, Pace, State

LAST_CALL = timedelta(seconds=LAST_CALL_SECONDS)
PORTS = range(20_000, 30_000)
"""Where master ports are taken from: below Linux' ephemeral ports and Kubernetes' node ports."""

AWAY = timedelta(seconds=5)
"""A gap in time after which silence is our own fault: this process was stopped or restarted."""


def join(state: State, request: JoinRequest, now: datetime) -> None:
    """Put an agent in line for the next round. What it gets is told by :func:`answer`.

    A member that asks again before it was heard in its round lost the answer and stays a member. One that was heard has
    ended its ranks, which ends the round for all.
    """
    uid = request.pod_uid
    member = state.members.get(uid)
    if member and not member.started and state.notice is Notice.NONE:
        member.seen = now
        return
    if member:
        del state.members[uid]
        ledger.break_round(state, Notice.REFORM)
    if state.membership.expected and uid not in state.membership.expected:
        state.strangers.setdefault(uid, now)
        return
    state.strangers.pop(uid, None)
    if uid in state.departing() or uid in state.unexplained:
        return
    since = state.waiting[uid].since if uid in state.waiting else now
    state.waiting[uid] = Joiner(request=request, since=since, seen=now)


def answer(state: State, uid: str, now: datetime) -> RoundAssignment | Gone | None:
    """What an agent that joined is told; ``None`` while it has to wait."""
    if state.outcome:
        return Gone(reason="finished" if state.outcome is Outcome.FINISHED else "failed")
    if state.membership.suspend:
        return Gone(reason="suspended")
    stranger = state.strangers.get(uid)
    if uid in state.departing() or uid in state.unexplained or (stranger and now - stranger >= STRANGER):
        return Gone(reason="replaced")
    member = state.members.get(uid)
    return _assignment(state, member) if member and state.notice is Notice.NONE and not member.started else None


def _assignment(state: State, member: Member) -> RoundAssignment:
    members = sorted(state.members.values(), key=lambda other: other.rank_offset)
    port = PORTS[(zlib.crc32(state.run_id.encode()) + state.round) % len(PORTS)]
    return RoundAssignment(
        round=state.round,
        node_rank=members.index(member),
        nodes=len(members),
        rank_offset=member.rank_offset,
        world_size=sum(other.request.local_world_size for other in members),
        master_address=members[0].request.address,
        master_port=port,
        budget_left=ledger.budget_left(state),
    )


def withdraw(state: State, uid: str) -> None:
    """An agent that waited has hung up."""
    state.waiting.pop(uid, None)


def heartbeat(state: State, beat: Heartbeat, now: datetime) -> HeartbeatReply:
    """Take a sign of life and tell what to do. A pod that is no member of the newest round has to join again."""
    member = state.members.get(beat.pod_uid)
    if member is None or beat.round != state.round:
        # A round that we never formed means that our state is younger than the run: let it save its work.
        unknown = beat.round > state.round
        state.round = max(state.round, beat.round)
        return _reply(state, Notice.REFORM if unknown else Notice.ABORT)
    member.seen, member.started, member.steps = now, True, beat.steps
    if beat.leaving and not member.leaving:
        member.leaving = True
        if beat.pod_uid not in state.departing() and not state.membership.suspend:
            ledger.announce(state, beat.pod_uid, now)
        ledger.break_round(state, Notice.REFORM)
    hang.observe(state, now)
    return _reply(state, _notice_for(state, member))


def _reply(state: State, notice: Notice) -> HeartbeatReply:
    return HeartbeatReply(notice=notice, round=state.round, served=state.membership.served)


def _notice_for(state: State, member: Member) -> Notice:
    if state.outcome:
        return Notice.STOP if state.outcome is Outcome.FINISHED else Notice.ABORT
    if state.notice is Notice.ABORT:
        return Notice.ABORT
    going = member.leaving or member.request.pod_uid in state.departing()
    return Notice.STOP if going or state.membership.suspend else state.notice


def leave(state: State, message: Leave, now: datetime) -> None:
    """Take an agent's last word. The run is finished when all members of a round are."""
    member = state.members.get(message.pod_uid)
    if member is None or message.round != state.round:
        return
    if message.outcome is Ending.FINISHED and state.notice is not Notice.ABORT:
        member.finished = True
        member.seen = now
        if sum(other.finished for other in state.members.values()) == state.nodes:
            state.outcome = state.outcome or Outcome.FINISHED
        return
    del state.members[message.pod_uid]
    ledger.break_round(state, Notice.REFORM if message.outcome is Ending.STOPPED else Notice.ABORT)


def advance(state: State, now: datetime) -> None:
    """Let time pass: drop the silent, book what is settled, grow, form the next round. Call after each message."""
    if state.awake is None or now - state.awake > AWAY:
        wake(state, now)
    state.awake = now
    if state.outcome:
        return
    _drop_silent(state, now)
    hang.check(state, now)
    ledger.settle(state, now)
    _grow(state, now)
    _form(state, now)


def wake(state: State, now: datetime) -> None:
    """After a pause of our own nobody is silent, and no step is late."""
    for member in state.members.values():
        member.seen = now
    for joiner in state.waiting.values():
        joiner.seen = now
    if state.pace.changed:
        state.pace.changed = now


def _drop_silent(state: State, now: datetime) -> None:
    for uid in [uid for uid, joiner in state.waiting.items() if now - joiner.seen >= SILENT]:
        del state.waiting[uid]
    for uid, member in list(state.members.items()):
        if now - member.seen < SILENT or (member.finished and state.notice is Notice.NONE):
            continue
        del state.members[uid]
        if not (member.finished or member.leaving or state.membership.suspend):
            ledger.depart(state, uid, Cause.NODE_LOST, now, "Silent")
        ledger.break_round(state, Notice.ABORT)


def _grow(state: State, now: datetime) -> None:
    """Open a running round for agents that wait, as far as the maximum allows."""
    room = state.membership.max - len(state.members)
    if not (state.training and state.waiting and room > 0) or any(m.finished for m in state.members.values()):
        return
    ledger.break_round(state, Notice.REFORM)
    if state.membership.max > state.formed_with_max:
        ledger.book(state, f"grow-{state.round}", Cause.RESIZE, now, "Grown")


def _form(state: State, now: datetime) -> None:
    """Start the next round once the last one's members are all back or gone, and nobody else is worth waiting for."""
    if state.members or state.pending or state.outcome or state.membership.suspend:
        return
    ready = sorted(state.waiting.values(), key=lambda joiner: (joiner.request.index, joiner.request.pod))
    if len(ready) < state.membership.min or not _complete(state, now):
        return
    chosen = ready[: state.membership.max]
    state.round += 1
    state.nodes = len(chosen)
    state.notice = Notice.NONE
    state.formed_with_max = state.membership.max
    state.pace = Pace()
    offset = 0
    for joiner in chosen:
        uid = joiner.request.pod_uid
        state.members[uid] = Member(request=joiner.request, rank_offset=offset, seen=now)
        offset += joiner.request.local_world_size
        del state.waiting[uid]


def _complete(state: State, now: datetime) -> bool:
    missing = state.wanted() - set(state.waiting)
    if len(state.waiting) >= state.membership.max or (state.membership.expected and not missing):
        return True
    patience = FIRST_CALL if missing and state.round < 0 else LAST_CALL
    return now - max(joiner.since for joiner in state.waiting.values()) >= patience
