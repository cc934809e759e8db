"""Start, end and refusal to start."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from leyden_contract import exit_codes
from leyden_contract.layout import complete_steps, step_directory
from leyden_server.app import create_app
from leyden_server.errors import BadCheckpoint, CannotServe
from leyden_server.loading import load
from leyden_server.model import Model
from leyden_server.settings import from_environment
from server.conftest import ROOT, environment, running

pytestmark = pytest.mark.xdist_group("server")  # one process trains the model for all

IMAGE = [[[0.0] * 8 for _ in range(8)]]


def refusal(path: Path, **env: str) -> CannotServe:
    """Why a server of this checkpoint would not start."""
    with pytest.raises(CannotServe) as refused:
        load(from_environment(env, path))
    return refused.value


def newest(directory: Path) -> Path:
    return directory / step_directory(complete_steps(directory)[0])


@pytest.fixture
def copied(checkpoints: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints, tmp_path / "copied"))


@pytest.fixture(autouse=True)
def module_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "digits"))


def test_a_flipped_byte_is_noticed_before_the_file_is_loaded(copied: Path) -> None:
    weights = newest(copied) / "weights.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    error = refusal(copied)
    assert isinstance(error, BadCheckpoint)
    assert str(error).startswith("CheckpointCorrupt: ") and "weights.pt" in str(error)


@pytest.mark.parametrize(
    "env, kind, said",
    [
        pytest.param({"LEYDEN_MODEL_DIGEST": "sha256:0"}, BadCheckpoint, "DigestMismatch", id="another-digest"),
        pytest.param({"LEYDEN_MODEL_STEP": "999999"}, BadCheckpoint, "CheckpointNotFound", id="no-such-step"),
        pytest.param({"LEYDEN_MODEL_STEP": "x"}, CannotServe, "BadSettings: step='x'", id="a-step-that-is-no-number"),
        pytest.param({"LEYDEN_SERVER": "{"}, CannotServe, "LEYDEN_SERVER is not JSON", id="settings-no-json"),
        pytest.param({"LEYDEN_SERVER": '{"workers": 0}'}, CannotServe, "BadSettings: workers", id="no-workers"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    checkpoints: Path, env: dict[str, str], kind: type[CannotServe], said: str
) -> None:
    error = refusal(checkpoints, **env)
    assert type(error) is kind and said in str(error)


def test_an_empty_directory_is_one_sentence(tmp_path: Path) -> None:
    assert "does not hold a checkpoint; it holds none" in str(refusal(tmp_path))


def test_a_module_that_is_not_there_is_named_and_the_checkpoint_is_not_to_blame(copied: Path) -> None:
    manifest = newest(copied) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "module": "digitz:LitDigits"}))
    error = refusal(copied)
    assert str(error) == "ModuleNotFound: digitz" and type(error) is CannotServe


def test_a_refusal_reaches_people_and_kubernetes_without_a_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    ran = subprocess.run(
        [sys.executable, "-m", "leyden_server", str(tmp_path)],
        env=environment(LEYDEN_TERMINATION_LOG=str(log)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == exit_codes.BAD_CHECKPOINT
    assert "Traceback" not in ran.stderr
    assert log.read_text().startswith("CheckpointNotFound: ") and log.read_text() in ran.stderr


@pytest.mark.slow
def test_sigterm_loses_no_request(checkpoints: Path) -> None:
    """Clients ask as long as it says that it is ready, as those behind a Service do, and all are answered."""
    with running(checkpoints) as server:
        answers: list[int] = []
        lost: list[httpx.HTTPError] = []
        turned_elsewhere = threading.Event()

        def ask() -> None:
            while not turned_elsewhere.is_set():
                try:
                    answers.append(server.predict(json={"inputs": [IMAGE]}).status_code)
                except httpx.HTTPError as error:
                    lost.append(error)
                    return

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(answers) < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        before = len(answers)
        server.process.send_signal(signal.SIGTERM)
        while time.monotonic() < deadline and httpx.get(f"{server.url}/readyz").status_code == 200:
            time.sleep(0.01)
        turned_elsewhere.set()
        for thread in threads:
            thread.join(timeout=30)
        assert server.process.wait(timeout=30) in (0, -signal.SIGTERM)
        assert before >= 100 and len(answers) > before and set(answers) == {200} and not lost, lost


@pytest.mark.slow
def test_readiness_fails_before_listening_ends(checkpoints: Path) -> None:
    with running(checkpoints) as server:
        server.process.send_signal(signal.SIGTERM)
        deadline, seen = time.monotonic() + 5, 200
        while seen == 200 and time.monotonic() < deadline:
            seen = httpx.get(f"{server.url}/readyz").status_code
        assert seen == 503


@pytest.mark.slow
def test_two_workers_count_together_and_a_killed_one_comes_back(checkpoints: Path) -> None:
    with running(checkpoints, LEYDEN_SERVER='{"workers": 2}') as server:
        for _ in range(20):
            assert server.predict(json={"inputs": [IMAGE]}).status_code == 200
        text = httpx.get(f"{server.url}/metrics").text
        assert 'leyden_server_requests_total{code="200"} 20.0' in text
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        first = children.read_text().split()
        workers = [pid for pid in first if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        subprocess.run(["kill", "-9", workers[0]], check=True)
        deadline = time.monotonic() + 60
        while True:
            now = [pid for pid in children.read_text().split() if pid not in first]
            if now or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert now, f"no worker took the place of {workers[0]}"


async def test_a_process_that_has_lost_its_gpu_answers_and_ends(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is the one that SIGTERM brings, so others may still be answered."""
    settings = from_environment({}, checkpoints)
    model = Model(load(settings))
    told: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", told.append)

    def fail(arrays: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(model, "predict", fail)
    for lost, signals in ((False, []), (True, [signal.SIGTERM])):
        monkeypatch.setattr(model, "is_lost", lambda lost=lost: lost)
        transport = httpx.ASGITransport(create_app(model, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            answer = await client.post("/predict", json={"inputs": [IMAGE]})
        assert answer.status_code == 500 and "device-side assert" in answer.text
        assert told == signals
