"""A rank's last words, and the environment that it is given."""

from pathlib import Path

import pytest

from leyden.agent import settings
from leyden.agent.heart import Tail
from leyden.agent.rank import describe
from leyden.agent.ranks import variables
from leyden_contract.launch import Run, ScriptRun
from leyden_contract.wire import JoinRequest, RoundAssignment


class Storage(Exception):
    retryable = True


class Misconfigured(Exception):
    retryable = False


@pytest.mark.parametrize(
    "error, reason, message, retryable",
    [
        pytest.param(ValueError("a\nb"), "ValueError", "ValueError: a", True, id="first-line"),
        pytest.param(KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt", True, id="without-a-message"),
        pytest.param(ModuleNotFoundError("no", name="digitz"), "ModuleNotFound", "digitz", False, id="unknown-module"),
        pytest.param(ImportError("no such name"), "ImportError", "no such name", False, id="failing-import"),
        pytest.param(Storage("full"), "Storage", "full", True, id="the-engines-own"),
        pytest.param(Misconfigured("lr=-1"), "Misconfigured", "lr=-1", False, id="the-users-to-change"),
        pytest.param(OSError("x" * 5000), "OSError", "OSError: " + "x" * 1015, True, id="cut"),
    ],
)
def test_an_exception_in_the_words_of_a_status(
    error: BaseException, reason: str, message: str, retryable: bool
) -> None:
    ending = describe(error)
    assert (ending.reason, ending.message, ending.retryable) == (reason, message, retryable)


def test_the_environment_is_torchruns() -> None:
    given = settings.Settings(
        run=Run(script=ScriptRun(path="x.py")),
        run_id="uid-0",
        coordinator="http://c",
        token="t",
        request=JoinRequest(pod="p", pod_uid="p", index=1, address="10.0.0.2", local_world_size=2),
    )
    place = RoundAssignment(
        round=3,
        node_rank=1,
        nodes=2,
        rank_offset=2,
        world_size=4,
        master_address="10.0.0.1",
        master_port=20003,
        budget_left=2,
    )
    assert variables(given, place, 1, Path("/d")) == {
        "LOCAL_RANK": "1",
        "RANK": "3",
        "GROUP_RANK": "1",
        "ROLE_RANK": "3",
        "ROLE_NAME": "default",
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "4",
        "GROUP_WORLD_SIZE": "2",
        "ROLE_WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "20003",
        "TORCHELASTIC_RESTART_COUNT": "3",
        "TORCHELASTIC_MAX_RESTARTS": "5",
        "TORCHELASTIC_RUN_ID": "uid-0",
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_ERROR_FILE": "/d/error.json",
        "LEYDEN_RANK_DIR": "/d",
    }


COMPLETE = {
    "LEYDEN_RUN": '{"script": {"path": "x.py"}}',
    "LEYDEN_RUN_ID": "uid-0",
    "LEYDEN_COORDINATOR": "http://c:1",
    "LEYDEN_TOKEN": "t",
    "LEYDEN_POD_NAME": "p",
    "LEYDEN_POD_UID": "u",
    "LEYDEN_POD_IP": "10.0.0.1",
    "LEYDEN_NODE_INDEX": "0",
    "LEYDEN_PROCESSES_PER_NODE": "2",
}


@pytest.mark.parametrize(
    "change, sentence",
    [
        pytest.param({"LEYDEN_TOKEN": ""}, "LEYDEN_TOKEN is not set", id="missing"),
        pytest.param({"LEYDEN_NODE_INDEX": "-1"}, "LEYDEN_NODE_INDEX='-1' is not allowed", id="negative-index"),
        pytest.param({"LEYDEN_PROCESSES_PER_NODE": "many"}, "LEYDEN_PROCESSES_PER_NODE='many'", id="no-number"),
        pytest.param({"LEYDEN_RUN": "{}"}, "exactly one of module, script", id="nothing-to-run"),
        pytest.param({"LEYDEN_RUN": '{"script": {}}'}, "run.script.path", id="script-without-path"),
    ],
)
def test_a_bad_setting_is_named(change: dict[str, str], sentence: str) -> None:
    assert settings.from_environment(COMPLETE).request.local_world_size == 2
    with pytest.raises(settings.BadSetting, match=sentence):
        settings.from_environment({**COMPLETE, **change})


def test_events_are_read_once_and_only_when_complete(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    tail = Tail(file)
    assert tail.newest() == {}
    line = '{{"progress": {{"step": {}, "reported_at": "2026-01-01T00:00:00Z"}}}}\n'
    file.write_text(line.format(1) + "no event\n" + line.format(2) + line.format(3)[:20])
    assert tail.newest()["progress"].step == 2
    assert tail.newest() == {}
    with file.open("a") as more:
        more.write(line.format(3)[20:])
    assert tail.newest()["progress"].step == 3
