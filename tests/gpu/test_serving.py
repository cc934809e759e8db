"""A server whose pod has a GPU answers from there, and ends when the GPU is lost to it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from server.conftest import PACKAGES, environment, running, trained
from server.test_formats import IMAGES


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("exported"), "exported", "onnx", "torchscript")


def asked(path: Path, format: str, **env: str) -> tuple[Any, str]:
    """The outputs, and what the server says of itself."""
    with running(path, "--format", format, **env) as server:
        answer = server.predict(json={"inputs": IMAGES})
        assert answer.status_code == 200, answer.text
        return np.array(answer.json()["outputs"]), httpx.get(f"{server.url}/openapi.json").json()["info"]["description"]


@pytest.mark.parametrize("format", ["checkpoint", "exported", "torchscript", "onnx"])
def test_answers_are_those_of_the_cpu(exported: Path, format: str) -> None:
    here, described = asked(exported, format)
    there, _ = asked(exported, format, CUDA_VISIBLE_DEVICES="")
    np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3)
    assert described.endswith("on cpu" if format == "onnx" else "on cuda")


MODULE = """
    import sys
    import torch
    import leyden as L
    from leyden.callbacks import CheckpointDirectory

    class Words(L.LightningModule):
        example_input_array = torch.zeros(2, 1, dtype=torch.int64)

        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(4, 1)

        def forward(self, numbers):
            return self.words(numbers)

        def training_step(self, batch, batch_idx):
            return self(batch).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    if __name__ == "__main__":
        from words import Words

        trainer = L.Trainer(max_epochs=1, logger=False, callbacks=[CheckpointDirectory(sys.argv[1])])
        trainer.fit(Words(), [torch.zeros(2, 1, dtype=torch.int64)])
"""


def test_a_server_that_has_lost_the_gpu_ends(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(textwrap.dedent(MODULE))
    packages = (*PACKAGES, str(tmp_path))
    command = [sys.executable, str(tmp_path / "words.py"), str(tmp_path / "steps")]
    made = subprocess.run(command, env=environment(packages), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    with running(tmp_path / "steps", packages=packages) as server:
        assert server.predict(json={"inputs": [[3]]}).status_code == 200
        answer = server.predict(json={"inputs": [[9]]})
        assert answer.status_code == 500 and "the model failed" in answer.text, answer.text
        server.process.wait(timeout=60)
        assert "a new one takes its place" in (server.process.stdout.read() if server.process.stdout else "")
