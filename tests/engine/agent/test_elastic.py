"""Real agents and a real coordinator through everything that happens to a job."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.agent.harness import Run
from leyden_contract.wire import Cause, RunPhase

pytestmark = pytest.mark.slow

START = 90
"""Seconds until three agents have imported torch on a busy machine."""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Gives a run of three agents a, b, c that train."""
    runs: list[Run] = []

    def start(**options: object) -> Run:
        run = Run(tmp_path, **options)  # type: ignore[arg-type]  # passed on as they are
        runs.append(run)
        run.__enter__()
        run.tell("a b c")
        for index, name in enumerate("abc"):
            run.start(name, index)
        return run

    yield start
    for run in runs:
        run.__exit__()


def test_rank_0s_pod_is_lost_and_replaced(three: Callable[..., Run]) -> None:
    run = three()
    first = run.trains(3, seconds=START)
    run.kill("a")
    run.tell("b c", lost={"a": "Preemption"})
    second = run.trains(2, after=first, seconds=15)
    run.start("a-r1", 0)
    run.tell("b c a-r1", lost={"a": "Preemption"})
    third = run.trains(3, after=second, seconds=START)
    assert run.booked() == {Cause.PREEMPTION: 1}
    assert third == second + 1
    assert run.report().first_failure is None


def test_a_pod_is_lost_and_the_operator_says_nothing(three: Callable[..., Run]) -> None:
    run = three()
    first = run.trains(3, seconds=START)
    run.kill("b")
    run.trains(2, after=first, seconds=30)
    assert run.booked() == {Cause.NODE_LOST: 1}


@pytest.mark.parametrize("args", [pytest.param("--aware", id="leyden-script"), pytest.param("", id="torchrun-script")])
def test_nodes_3_to_2_to_3(three: Callable[..., Run], args: str) -> None:
    run = three(args=args)
    first = run.trains(3, seconds=START)
    run.tell("a b", most=2, draining={"c": "Resize"})
    assert run.code("c") == 75
    second = run.trains(2, after=first)
    run.start("c2", 2)
    run.tell("a b c2", most=3, lost={"c": "Resize"})
    run.trains(3, after=second, seconds=START)
    assert run.booked() == {Cause.RESIZE: 2}
    if args:
        assert _lost_steps(run) == 0


def test_sigterm_saves_the_work_of_all(three: Callable[..., Run]) -> None:
    run = three(args="--aware")
    first = run.trains(3, seconds=START)
    run.terminate("a")
    run.tell("a b c", draining={"a": "Preemption"})
    assert run.code("a") == 75
    run.trains(2, after=first, seconds=15)
    assert run.booked() == {Cause.PREEMPTION: 1}
    assert _lost_steps(run) == 0


def test_sigterm_that_nobody_explains_is_a_preemption(three: Callable[..., Run]) -> None:
    run = three(args="--aware")
    first = run.trains(3, seconds=START)
    run.terminate("c")
    run.trains(2, after=first, seconds=15)
    run.until("it is booked", lambda: run.booked() == {Cause.PREEMPTION: 1}, 15)


def test_suspend_stops_all_and_books_nothing(three: Callable[..., Run]) -> None:
    run = three(args="--aware")
    run.trains(3, seconds=START)
    run.tell("a b c", suspend=True)
    assert [run.code(name) for name in "abc"] == [75, 75, 75]
    report = run.phase(RunPhase.SUSPENDED)
    assert not report.ledger
    assert report.checkpoints.latest and report.checkpoints.latest.step == run.steps()[-1][3]


def test_an_exception_is_booked_once_a_round_until_the_budget_is_used_up(three: Callable[..., Run]) -> None:
    run = three(budget=1, args="--raise-at 5")
    report = run.phase(RunPhase.FAILED, START)
    assert [run.code(name) for name in "abc"] == [1, 1, 1]
    assert run.booked() == {Cause.FAILURE: 2}
    failure = report.first_failure
    assert failure and (failure.pod, failure.rank, failure.exit_code, failure.reason) == ("c", 2, 1, "ValueError")
    assert failure.message == "ValueError: the loss is made of cheese"


def test_a_killed_rank_restarts_in_its_pod(three: Callable[..., Run]) -> None:
    run = three(budget=1)
    first = run.trains(3, seconds=START)
    run.kill_rank("b")
    run.trains(3, after=first, seconds=15)
    assert run.booked() == {Cause.FAILURE: 1}
    failure = run.report().first_failure
    assert failure and (failure.pod, failure.signal, failure.exit_code) == ("b", "SIGKILL", None)
    assert failure.reason in ("Killed", "OOMKilled")


def test_a_restarted_coordinator_disturbs_nobody(three: Callable[..., Run]) -> None:
    run = three()
    first = run.trains(3, seconds=START)
    run.kill("coordinator")
    run.code("coordinator")
    before = run.steps()[-1][3]
    run.start_coordinator()
    run.until("training went on", lambda: run.steps()[-1][3] > before + 100, 30)
    assert run.steps()[-1][1] == first and not run.report().ledger
    assert run.phase(RunPhase.TRAINING).round == first


def test_a_deleted_job_goes_at_once_although_its_coordinator_is_gone_first(three: Callable[..., Run]) -> None:
    run = three(args="--aware")
    run.trains(3, seconds=START)
    run.kill("coordinator")
    for name in "abc":
        run.terminate(name)
    assert [run.code(name, seconds=10) for name in "abc"] == [75, 75, 75]


def test_two_ranks_in_a_pod_finish(tmp_path: Path) -> None:
    with Run(tmp_path, least=2, most=2, args="--steps 20") as run:
        run.start("a", 0, processes=2)
        run.start("b", 1, processes=1)
        assert [run.code(name, START) for name in "ab"] == [0, 0]
        assert run.phase(RunPhase.FINISHED).progress.step == 20  # type: ignore[union-attr]  # None fails too
        assert {world for _, _, world, _ in run.steps()} == {3}


def test_ranks_of_each_round_learn_which_checkpoints_services_use(tmp_path: Path) -> None:
    def told() -> list[str]:
        return [path.read_text() for path in sorted(tmp_path.glob("leyden-*/round-*/0/served"))]

    with Run(tmp_path, least=1, most=1, budget=1) as run:
        run.tell("a", most=1, served="sha256:1 sha256:2")
        run.start("a", 0)
        run.until("the first round is told", lambda: told() == ["sha256:1\nsha256:2"], START)
        run.tell("a", most=1, served="sha256:2")
        run.until("the list is a new one", lambda: told() == ["sha256:2"], 15)
        run.kill_rank("a")
        run.until("the second round is told", lambda: told() == ["sha256:2", "sha256:2"], START)


@pytest.mark.parametrize(
    "source, reason, message",
    [
        pytest.param("import digitz", "ModuleNotFound", "digitz", id="unknown-module"),
        pytest.param("from json import digitz", "ImportError", "cannot import name 'digitz'", id="unknown-name"),
        pytest.param("import sys; sys.exit(78)", "Misconfigured", "exit code 78", id="says-so-itself"),
    ],
)
def test_what_the_user_must_change_fails_at_once(tmp_path: Path, source: str, reason: str, message: str) -> None:
    script = tmp_path / "broken.py"
    script.write_text(source)
    with Run(tmp_path, least=1, most=1, budget=5, script=script) as run:
        run.start("a", 0)
        assert run.code("a", START) == 78
        report = run.phase(RunPhase.FAILED)
        assert report.first_failure and report.first_failure.reason == reason
        assert message in report.first_failure.message
        assert run.booked() == {Cause.FAILURE: 1}


def test_the_agents_own_process_has_no_torch_mapped(tmp_path: Path) -> None:
    with Run(tmp_path, least=1, most=1) as run:
        run.start("a", 0)
        run.trains(1, seconds=START)
        assert "libtorch" not in Path(f"/proc/{run.processes['a'].pid}/maps").read_text()


def _lost_steps(run: Run) -> int:
    """Steps that were made twice, because a round went on from before the last one's end."""
    steps = [step for _, _, _, step in run.steps()]
    return len(steps) - len(set(steps))
