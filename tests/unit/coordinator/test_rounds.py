"""Who trains together, as histories."""

import pytest

from leyden_contract.wire import Gone, Heartbeat, Notice, Outcome, RoundAssignment, RunPhase
from leyden_coordinator import report, rounds
from leyden_coordinator import state as states
from unit.coordinator.histories import History


def assigned(history: History, uid: str) -> RoundAssignment:
    answer = history.answer(uid)
    assert isinstance(answer, RoundAssignment), answer
    return answer


@pytest.mark.parametrize(
    "history, formed",
    [
        pytest.param(History(2, 3).joins("a"), False, id="below-the-minimum"),
        pytest.param(History(2, 3).joins("a").passes(60), False, id="below-the-minimum-for-long"),
        pytest.param(History(2, 3).joins("a", "b"), False, id="minimum-just-joined"),
        pytest.param(History(2, 3).joins("a", "b").passes(3), True, id="minimum-and-last-call"),
        pytest.param(History(2, 3).joins("a", "b").passes(2).joins("c"), True, id="maximum-at-once"),
        pytest.param(History(2, 3).expects("a", "b").joins("a", "b"), True, id="all-expected-at-once"),
        pytest.param(History(2, 3).expects("a", "b", "c").joins("a", "b").passes(3), False, id="start-waits-longer"),
        pytest.param(History(2, 3).expects("a", "b", "c").joins("a", "b").passes(15), True, id="start-does-not-hang"),
        pytest.param(
            History(3, 3).joins("a", "b").dies("b").passes(10).joins("c"), False, id="a-dead-joiner-does-not-count"
        ),
        pytest.param(History(1, 3).expects("a", suspend=True).joins("a").passes(9), False, id="suspended"),
    ],
)
def test_a_round_forms(history: History, formed: bool) -> None:
    assert bool(history.state.members) is formed


def test_ranks_are_dense_and_ordered_by_index() -> None:
    history = History(3, 3).joins("c", "a", "b")
    places = [assigned(history, uid) for uid in "abc"]
    assert [(place.node_rank, place.rank_offset) for place in places] == [(0, 0), (1, 2), (2, 4)]
    assert {(place.world_size, place.nodes, place.master_address) for place in places} == {(6, 3, "a")}


def test_each_round_has_a_port_of_its_own() -> None:
    history = History().trains("a", "b")
    first = history.state.round
    history.fails("a").joins("a", "b")
    assert history.state.round == first + 1
    ports = {assigned(history, uid).master_port for uid in "ab"}
    assert len(ports) == 1
    other = History().expects("a", "b").joins("a", "b")
    assert assigned(other, "a").master_port not in ports


def test_a_lost_answer_is_given_again() -> None:
    history = History().expects("a", "b").joins("a", "b")
    before = assigned(history, "a")
    assert assigned(history.joins("a"), "a") == before


@pytest.mark.parametrize(
    "history, notices",
    [
        pytest.param(History().trains("a", "b"), {"a": "none", "b": "none"}, id="undisturbed"),
        pytest.param(
            History().trains("a", "b").expects("a", "b", "c").joins("c"),
            {"a": "reform", "b": "reform"},
            id="someone-waits",
        ),
        pytest.param(
            History(1, 2).trains("a", "b").expects("a", "b", "c").joins("c"), {"a": "none", "b": "none"}, id="standby"
        ),
        pytest.param(
            History().trains("a", "b").expects("a", "b", draining={"b": "Preemption"}),
            {"a": "reform", "b": "stop"},
            id="one-is-drained",
        ),
        pytest.param(History().trains("a", "b").expects("a", lost={"b": "NodeLost"}), {"a": "abort"}, id="one-is-lost"),
        pytest.param(
            History().trains("a", "b").expects("a", "b", suspend=True), {"a": "stop", "b": "stop"}, id="suspended"
        ),
        pytest.param(History().trains("a", "b").fails("b"), {"a": "abort", "b": "abort"}, id="a-rank-failed"),
        pytest.param(
            History().trains("a", "b").expects("a", "b", draining={"b": "Resize"}).fails("a"),
            {"a": "abort", "b": "abort"},
            id="a-rank-failed-while-saving",
        ),
        pytest.param(History().trains("a", "b").dies("b").passes(10), {"a": "abort"}, id="one-is-silent"),
        pytest.param(History().trains("a", "b").dies("b").passes(9), {"a": "none", "b": "none"}, id="not-silent-yet"),
    ],
)
def test_what_members_are_told(history: History, notices: dict[str, str]) -> None:
    assert {uid: str(notice) for uid, notice in history.notices().items()} == notices


@pytest.mark.parametrize(
    "history, reason",
    [
        pytest.param(History().expects("b", lost={"a": "NodeLost"}).joins("a"), "replaced", id="lost"),
        pytest.param(History().expects("a", draining={"a": "Resize"}).joins("a"), "replaced", id="draining"),
        pytest.param(History().expects("b").joins("a"), None, id="unknown-yet"),
        pytest.param(History().expects("b").joins("a").passes(30), "replaced", id="unknown-for-long"),
        pytest.param(History().expects("a", suspend=True).joins("a"), "suspended", id="suspended"),
        pytest.param(History().trains("a").leaves("a", Outcome.FINISHED).joins("a"), "finished", id="finished"),
        pytest.param(History().trains("a").fails("a", retryable=False).joins("a"), "failed", id="failed"),
    ],
)
def test_who_is_turned_away(history: History, reason: str | None) -> None:
    answer = history.answer("a")
    assert (answer.reason if isinstance(answer, Gone) else answer) == reason


def test_the_run_is_finished_when_all_are() -> None:
    history = History().trains("a", "b").leaves("a", Outcome.FINISHED)
    assert report.phase(history.state) is RunPhase.TRAINING
    history.leaves("b", Outcome.FINISHED)
    assert report.phase(history.state) is RunPhase.FINISHED
    assert history.notices() == {"a": Notice.STOP, "b": Notice.STOP}


def test_a_finished_agent_is_needed_again_if_another_fails() -> None:
    history = History().trains("a", "b").leaves("a", Outcome.FINISHED).fails("b")
    assert history.notices() == {"a": Notice.ABORT, "b": Notice.ABORT}
    assert set(history.joins("a", "b").state.members) == {"a", "b"}


def test_a_restart_of_the_coordinator_changes_nothing() -> None:
    history = History().trains("a", "b")
    kept = states.State.model_validate_json(history.state.model_dump_json())
    history.state = kept
    history.passes(5)
    assert history.notices() == {"a": Notice.NONE, "b": Notice.NONE} and not history.booked


def test_a_pause_of_the_coordinator_is_nobodys_silence() -> None:
    history = History().trains("a", "b").dies("a", "b")
    history.now += states.SILENT * 5
    assert history.notices() == {"a": Notice.NONE, "b": Notice.NONE}


def test_a_coordinator_that_lost_its_memory_lets_the_work_be_saved() -> None:
    history = History()
    answer = rounds.heartbeat(history.state, Heartbeat(pod_uid="a", round=7), history.now)
    assert answer.notice is Notice.REFORM
    assert assigned(history.expects("a").joins("a"), "a").round == 8
