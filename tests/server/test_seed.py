"""``examples/autoencoder``: a Lightning module and a FastAPI application of the user, word for word as printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from leyden_cluster.apiserver import free_ports

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
PYTHON = (sys.executable, "-m", "leyden.compat")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seed") / "autoencoder"
    shutil.copytree(ROOT / "examples/autoencoder", folder)
    ran = subprocess.run((*PYTHON, "train.py"), cwd=folder, env=_env(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("trainer-image", "contract"))}


@pytest.fixture(params=[pytest.param((), id="plain"), pytest.param(("--reload",), id="reload")])
def url(request: pytest.FixtureRequest, trained: Path) -> Iterator[str]:
    """The application under uvicorn; with ``--reload`` it runs in a child process, as printed."""
    (port,) = free_ports(1)
    command = (*PYTHON, "-m", "uvicorn", "fastapi_app:app", *request.param, "--port", str(port))
    with (trained / "uvicorn.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=trained, env=_env(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"http://127.0.0.1:{port}/docs"):
            said = (trained / "uvicorn.log").read_text()
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


EMBED = """
import torch
from model import LitAutoEncoder
model = LitAutoEncoder.load_from_checkpoint("path/to/checkpoint.ckpt")
print(model.encoder(torch.arange(64.0).unsqueeze(0)).tolist())
"""


def test_the_printed_application_answers_with_the_trained_encoder(trained: Path, url: str) -> None:
    answer = httpx.post(f"{url}/predict", json={"data": [float(number) for number in range(64)]}, timeout=30)
    assert answer.status_code == 200, answer.text
    (trained / "embed.py").write_text(EMBED)
    ran = subprocess.run((*PYTHON, "embed.py"), cwd=trained, env=_env(), capture_output=True, text=True, check=True)
    (embedding,) = answer.json()["embedding"]
    assert len(embedding) == 3
    assert embedding == pytest.approx(json.loads(ran.stdout)[0], abs=1e-5)
