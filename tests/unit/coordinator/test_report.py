"""What the operator reads."""

import pytest

from leyden_contract.wire import Checkpoint, Checkpoints, Events, Progress, RunPhase
from leyden_coordinator import report
from unit.coordinator.histories import START, History


def events(number: int, step: int, committed: int | None = None) -> Events:
    kept = None if committed is None else Checkpoint(step=committed, directory="d", digest="sha256:0")
    return Events(
        pod_uid="a",
        round=number,
        progress=Progress(step=step, reported_at=START),
        checkpoints=Checkpoints(latest=kept) if kept else None,
    )


@pytest.mark.parametrize(
    "told, step",
    [
        pytest.param([events(0, 5)], 5, id="progress"),
        pytest.param([events(0, 5), events(0, 7)], 7, id="the-newest"),
        pytest.param([events(0, 5, committed=6)], 6, id="a-commit-is-ahead-of-progress"),
        pytest.param([events(0, 9, committed=6), events(0, 7)], 7, id="back-to-the-checkpoint"),
    ],
)
def test_progress(told: list[Events], step: int) -> None:
    history = History().trains("a")
    for each in told:
        report.take(history.state, each, history.now)
    seen = report.report(history.state)
    assert seen.progress and seen.progress.step == step


def test_an_old_round_has_nothing_to_add() -> None:
    history = History().trains("a").fails("a").joins("a")
    assert history.state.round == 1
    report.take(history.state, events(0, 5), history.now)
    assert report.report(history.state).progress is None


def test_whoever_commits_does_not_hang() -> None:
    history = History().trains("a")
    history.beats("a", 1)
    history.passes(50)
    report.take(history.state, events(0, 1, committed=1), history.now)
    assert history.passes(50).state.training
    assert not history.passes(10).state.training


@pytest.mark.parametrize(
    "history, phase, nodes",
    [
        pytest.param(History(), RunPhase.FORMING, 0, id="nobody-yet"),
        pytest.param(History().trains("a", "b"), RunPhase.TRAINING, 2, id="training"),
        pytest.param(History().trains("a", "b").fails("a"), RunPhase.FORMING, 0, id="broken"),
        pytest.param(History().trains("a").expects("a", suspend=True), RunPhase.FORMING, 0, id="stopping"),
        pytest.param(History().expects("a", suspend=True), RunPhase.SUSPENDED, 0, id="suspended"),
        pytest.param(History().trains("a").fails("a", retryable=False), RunPhase.FAILED, 0, id="failed"),
    ],
)
def test_phase(history: History, phase: RunPhase, nodes: int) -> None:
    seen = report.report(history.state)
    assert (seen.phase, seen.nodes) == (phase, nodes)
    assert seen.round == 0
