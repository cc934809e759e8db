"""What is booked, and under which cause."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden_contract.wire import Cause, Outcome
from leyden_coordinator import hang
from leyden_coordinator import state as states
from unit.coordinator.histories import History

F, P, N, R = Cause.FAILURE, Cause.PREEMPTION, Cause.NODE_LOST, Cause.RESIZE


def running() -> History:
    return History(1, 3, budget=2).trains("a", "b", "c")


@pytest.mark.parametrize(
    "history, booked",
    [
        pytest.param(running().fails("a").passes(3), [], id="held-while-members-are-out"),
        pytest.param(running().fails("a").joins("a", "b", "c"), [("round-0", F)], id="a-ranks-own-failure"),
        pytest.param(running().fails("a").fails("b").fails("c").joins("a", "b", "c"), [("round-0", F)], id="echoes"),
        pytest.param(
            running().fails("a").joins("a", "b", "c").fails("b", round=0), [("round-0", F)], id="an-old-rounds-echo"
        ),
        pytest.param(
            running().fails("a").joins("a", "b").expects("a", "b", lost={"c": "Preemption"}),
            [("pod-c", P)],
            id="a-lost-pod-explains-the-failure",
        ),
        pytest.param(
            running().expects("a", "b", lost={"c": "NodeLost"}).fails("a").joins("a", "b"),
            [("pod-c", N)],
            id="loss-first",
        ),
        pytest.param(
            running().fails("a").dies("c").joins("a", "b").passes(11), [("pod-c", N)], id="silence-explains-the-failure"
        ),
        pytest.param(
            running().fails("c", "OOMKilled").expects("a", "b", lost={"c": "Failure"}).joins("a", "b"),
            [("round-0", F)],
            id="a-pod-that-failed-is-not-counted-beside-its-rank",
        ),
        pytest.param(
            running().expects("a", "b", lost={"c": "NodeLost", "b": "NodeLost"}).expects("a", lost={"c": "Resize"}),
            [("pod-c", N), ("pod-b", N)],
            id="each-pod-once-under-its-first-cause",
        ),
        pytest.param(
            running().expects("a", "b", most=2, draining={"c": "Resize"}).leaves("c", Outcome.STOPPED).joins("a", "b"),
            [("pod-c", R)],
            id="shrinking",
        ),
        pytest.param(
            History(1, 2).trains("a", "b").expects("a", "b", "c", most=3).joins("c"), [("grow-0", R)], id="growing"
        ),
        pytest.param(
            running().expects("a", "b", lost={"c": "Preemption"}).joins("a", "b").expects("a", "b", "d").joins("d"),
            [("pod-c", P)],
            id="growing-back-is-free",
        ),
        pytest.param(running().expects("a", "b", "c", suspend=True), [], id="suspended"),
        pytest.param(running().expects("a", "b", "c", lost={"x": "NodeLost"}), [], id="a-pod-that-never-trained"),
    ],
)
def test_booked(history: History, booked: list[tuple[str, Cause]]) -> None:
    assert history.booked == booked
    assert history.state.outcome is None


def test_sigterm_waits_for_the_operators_word() -> None:
    history = running()
    history.beats("c", leaving=True)
    history.leaves("c", Outcome.STOPPED).passes(5)
    assert not history.booked
    assert history.expects("a", "b", draining={"c": "Resize"}).booked == [("pod-c", R)]
    assert history.passes(30).booked == [("pod-c", R)]


def test_sigterm_without_a_word_is_a_preemption() -> None:
    history = running()
    history.beats("c", leaving=True)
    assert history.leaves("c", Outcome.STOPPED).passes(10).booked == [("pod-c", P)]


def test_the_first_failure_is_not_an_echo_of_it() -> None:
    history = running().fails("b", "RuntimeError", "[gloo] Connection closed by peer").fails("c").joins("a", "b", "c")
    assert history.state.first_failure and history.state.first_failure.pod == "c"


@pytest.mark.parametrize("budget", [pytest.param(budget, id=f"budget-{budget}") for budget in (0, 1, 3)])
def test_the_failure_beyond_the_budget_ends_the_run(budget: int) -> None:
    history = History(1, 1, budget).trains("a")
    for _ in range(budget):
        assert history.fails("a").joins("a").state.outcome is None
    assert history.fails("a").joins("a").state.outcome is states.Outcome.FAILED
    assert len(history.booked) == budget + 1
    assert history.fails("a").expects(lost={"a": "NodeLost"}).booked == [(f"round-{i}", F) for i in range(budget + 1)]


def test_what_the_user_must_change_ends_the_run_at_once() -> None:
    history = running().fails("b", "ModuleNotFound", "digitz", retryable=False)
    assert history.state.outcome is states.Outcome.FAILED
    assert history.booked == [("round-0", F)]


def test_a_round_that_stops_stepping_is_a_failure() -> None:
    history = running()
    for step in range(1, 11):
        history.passes(1)
        for uid in "abc":
            history.beats(uid, step)
    assert history.passes(59).state.training
    history.passes(1)
    assert not history.state.training
    history.joins("a", "b", "c")
    assert history.booked == [("round-0", F)]
    assert history.state.first_failure and history.state.first_failure.reason == "Hang"


def test_slow_steps_are_no_hang() -> None:
    history = running()
    for step in range(1, 5):
        history.passes(30)
        for uid in "abc":
            history.beats(uid, step)
    assert hang.allowed(history.state).total_seconds() == pytest.approx(300, rel=0.1)
    assert history.passes(250).state.training


EVENTS = st.tuples(
    st.sampled_from(["join", "fail", "lose", "drain", "silence", "leaving", "beat", "pass", "finish", "echo"]),
    st.sampled_from("abcde"),
)


@settings(max_examples=300, deadline=None)
@given(
    least=st.integers(1, 2),
    extra=st.integers(0, 2),
    budget=st.integers(0, 3),
    events=st.lists(EVENTS, max_size=60),
)
def test_any_history_books_each_key_once_and_forms_sound_rounds(
    least: int, extra: int, budget: int, events: list[tuple[str, str]]
) -> None:
    history = History(least, least + extra, budget)
    lost: dict[str, str] = {}
    for kind, uid in events:
        _play(history, kind, uid, lost)
        state = history.state
        keys = [key for key, _ in history.booked]
        assert len(keys) == len(set(keys))
        assert not state.outcome or sum(cause is F for _, cause in history.booked) <= budget + 1
    for members in history.formed:
        assert least <= len(members) <= least + extra
        assert [member.rank_offset for member in members] == list(range(0, 2 * len(members), 2))
        indexes = [member.request.index for member in members]
        assert indexes == sorted(indexes)


def _play(history: History, kind: str, uid: str, lost: dict[str, str]) -> None:
    match kind:
        case "join":
            history.joins(uid)
        case "fail" | "echo":
            history.fails(uid, round=max(0, history.state.round - (kind == "echo")))
        case "lose" | "drain":
            lost[uid] = "NodeLost"
            history.expects(**{"lost" if kind == "lose" else "draining": lost})
        case "silence":
            history.dies(uid).passes(11)
        case "beat" | "leaving":
            history.beats(uid, leaving=kind == "leaving")
        case "pass":
            history.passes(4)
        case "finish":
            history.leaves(uid, Outcome.FINISHED)
