"""A real checkpoint of the digits example, and the real application behind a real socket."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from leyden_cluster.apiserver import free_ports

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "trainer-image", "server-image", "examples/digits")
START_SECONDS = 60.0

TRAIN = """
import json, sys
from leyden.entry import run_module
from leyden_contract.launch import CheckpointPlan, ModuleRun
config = {"trainer": {"max_epochs": 2, "enable_progress_bar": False}}
run = ModuleRun(model="digits:LitDigits", data="digits:DigitsData", config=config)
run_module(run, CheckpointPlan(directory=sys.argv[1], export=json.loads(sys.argv[2])))
"""


def environment(packages: tuple[str, ...] = PACKAGES, **extra: str) -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / package) for package in packages)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **extra}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the checkpoints of two epochs of digits."""
    return trained(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an export in each format."""
    return trained(tmp_path_factory.mktemp("exported"), "exported", "onnx", "torchscript")


def trained(directory: Path, *export: str) -> Path:
    """Train into the directory."""
    command = [sys.executable, "-c", TRAIN, str(directory), json.dumps(export)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return directory


@dataclass
class Running:
    """A server process and where it answers."""

    url: str
    process: "subprocess.Popen[str]"

    def predict(self, **arguments: object) -> httpx.Response:
        return httpx.post(f"{self.url}/predict", timeout=30, **arguments)  # type: ignore[arg-type]  # httpx's own


@contextmanager
def running(path: Path, *options: str, packages: tuple[str, ...] = PACKAGES, **env: str) -> Iterator[Running]:
    """``python -m leyden_server PATH`` once it is ready, and ended at the end."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "leyden_server", str(path), "--host", "127.0.0.1", "--port", str(port), *options]
    process = subprocess.Popen(
        command, env=environment(packages, **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    server = Running(f"http://127.0.0.1:{port}", process)
    try:
        _await_ready(server)
        yield server
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _await_ready(server: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    server.process.kill()
    raise AssertionError(f"the server did not get ready: {server.process.communicate()[0]}")


@pytest.fixture(scope="session")
def server(checkpoints: Path) -> Iterator[Running]:
    """A server of the newest checkpoint that all tests may ask."""
    with running(checkpoints, LEYDEN_SERVER='{"maxBodyBytes": 1000000}') as each:
        yield each
