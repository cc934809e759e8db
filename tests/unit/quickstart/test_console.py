"""What a person sees while steps run."""

import io

from leyden_quickstart.console import Console, Step, StepFailed, run_steps, seconds


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_failure_names_the_step_the_reason_and_the_command_and_stops() -> None:
    out = io.StringIO()
    ran: list[str] = []

    def fails(console: Console) -> str:
        raise StepFailed("The disk is full.", "df -h")

    def never(console: Console) -> str:
        ran.append("third")
        return "unreachable"

    steps = [Step("First", lambda console: "fine"), Step("Second", fails), Step("Third", never)]
    assert not run_steps(steps, Console(3, out))
    assert not ran
    for shown in ("[ 1/3] First", "fine", "[ 2/3] Second", "failed", "The disk is full.", "df -h"):
        assert shown in out.getvalue()


def test_a_log_gets_progress_now_and_then_rather_than_a_flood() -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(1, out, clock)
    console.begin("Train")
    for second in range(60):
        clock.now = float(second)
        console.live(f"epoch {second}")
    assert [line.split()[-1] for line in out.getvalue().splitlines()[1:]] == ["15", "30", "45"]


def test_durations_read_well() -> None:
    assert [seconds(value) for value in (0.04, 59.94, 60.0, 187.4)] == ["0.0 s", "59.9 s", "1 m 00 s", "3 m 07 s"]
