"""The examples learn what they promise."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import leyden as L
from engine.programs import QUIET

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    name = request.param
    monkeypatch.syspath_prepend(str(EXAMPLES / name))
    module = importlib.import_module(name)
    L.seed_everything(1)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("example", ["digits"], indirect=True)
def test_digits_are_read(example: ModuleType) -> None:
    model, data, trainer = example.LitDigits(), example.DigitsData(), L.Trainer(max_epochs=4, **QUIET)
    trainer.fit(model, datamodule=data)
    (tested,) = trainer.test(model, datamodule=data, verbose=False)
    assert tested["test_acc"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("example", ["textlm"], indirect=True)
def test_text_is_learnt(example: ModuleType) -> None:
    model, data, trainer = example.LitTextLM(), example.DocstringData(limit=60_000), L.Trainer(max_epochs=1, **QUIET)
    (before,) = trainer.validate(model, datamodule=data, verbose=False)
    trainer.fit(model, datamodule=data)
    after = float(trainer.callback_metrics["val_loss"])
    assert before["val_loss"] > 5 and after < 3.5, (before, after)


@pytest.mark.slow
def test_the_committed_digits_are_those_of_the_held_out_split() -> None:
    path = [str(EXAMPLES.parent / "contract"), str(EXAMPLES.parent / "trainer-image")]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "digits" / "digits.py"), "--held-out", "8"],
        env={"PYTHONPATH": ":".join(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads((EXAMPLES / "digits" / "held-out.json").read_text())
