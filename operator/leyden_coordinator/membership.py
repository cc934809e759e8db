"""What the operator says about the job's pods."""

from datetime import datetime

from leyden_contract.wire import Membership, Notice
from leyden_coordinator import ledger
from leyden_coordinator.state import State


def tell(state: State, membership: Membership, now: datetime) -> None:
    """Take the operator's whole truth in place of what it said before.

    A lost member breaks the round at once; a draining one makes everyone commit a checkpoint first. Each is booked
    under the cause given, once. While suspended nothing is booked: the user asked for it.
    """
    state.membership = membership
    if membership.suspend:
        state.unexplained.clear()
        state.pending.clear()
        ledger.break_round(state, Notice.REFORM)
    lost = {gone.pod_uid for gone in membership.lost}
    for gone in (*membership.lost, *membership.draining):
        uid = gone.pod_uid
        member = state.members.get(uid)
        counts = uid in state.unexplained or (member is not None and not member.finished)
        if counts and not membership.suspend:
            ledger.depart(state, uid, gone.cause, now, "Lost" if uid in lost else "Draining")
        state.waiting.pop(uid, None)
        if member is None or member.finished:
            continue
        ledger.break_round(state, Notice.ABORT if uid in lost else Notice.REFORM)
        if uid in lost:
            del state.members[uid]
