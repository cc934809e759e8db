"""Exports of a module that is on a CUDA device: files that answer on the CPU, and the module stays where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import leyden as L
from engine.programs import SAVING, Regression, loader
from engine.test_export import METHODS, Pair, Parts, written
from leyden.callbacks import CheckpointDirectory
from leyden.checkpoint import store
from leyden.export.formats import FORMATS, leaves


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("module", [Regression(dropout=0.5), Pair(), Parts()], ids=lambda module: type(module).__name__)
def test_a_file_answers_on_the_cpu(kind: str, module: L.LightningModule, tmp_path: Path) -> None:
    file, inputs = written(module.cuda(), kind, tmp_path)
    assert all(parameter.device.type == "cuda" for parameter in module.parameters())
    forward = FORMATS[kind].read(file)
    module.eval().cpu()
    for mine, wanted in zip(leaves(forward(*inputs)), leaves(module(*inputs)), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_a_runs_checkpoints_have_their_exports(precision: str, tmp_path: Path) -> None:
    module = Regression()
    keeper = CheckpointDirectory(tmp_path, every_n_epochs=1, export=tuple(METHODS))
    L.Trainer(max_epochs=2, callbacks=[keeper], precision=precision, **SAVING).fit(module, loader())
    made = set(METHODS) - ({"onnx"} if precision == "bf16-true" else set())  # onnxruntime has no bfloat16 on CPUs
    committed = store.complete(tmp_path)
    assert len(committed) == 2
    for stored in committed:
        assert set(stored.manifest.exports) == made
