"""What agents tell about training, and what the operator reads of it."""

from datetime import datetime

from leyden_contract.wire import Checkpoints, Events, Progress, Report, RunPhase
from leyden_coordinator.state import State


def take(state: State, events: Events, now: datetime) -> None:
    """Keep the newest progress and checkpoints. A round that is over has nothing to add.

    Whoever reports is not hanging, even if no step is made while a large checkpoint is written.
    """
    if events.round < state.round:
        return
    state.progress = events.progress or state.progress
    state.checkpoints = events.checkpoints or state.checkpoints
    if state.pace.changed:
        state.pace.changed = now


def report(state: State) -> Report:
    """The state as the operator needs it."""
    return Report(
        run_id=state.run_id,
        round=max(0, state.round),
        phase=phase(state),
        nodes=state.nodes if state.training else 0,
        progress=_at_least(state.progress, state.checkpoints),
        checkpoints=state.checkpoints,
        first_failure=state.first_failure,
        ledger=tuple(state.ledger),
        hung_ranks=state.hung_ranks,
    )


def phase(state: State) -> RunPhase:
    """Where the run stands. A suspended one counts as such when its last member has stopped."""
    if state.outcome:
        return RunPhase(state.outcome.value)
    if state.membership.suspend and not state.members:
        return RunPhase.SUSPENDED
    return RunPhase.TRAINING if state.training else RunPhase.FORMING


def _at_least(progress: Progress | None, checkpoints: Checkpoints) -> Progress | None:
    """Progress is told once a second, so a commit may be ahead of it; whoever committed a step has made it."""
    latest = checkpoints.latest
    if progress is None or latest is None or progress.step >= latest.step:
        return progress
    return progress.model_copy(update={"step": latest.step})
