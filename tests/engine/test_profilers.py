"""What profilers see of a run, and where they say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.errors import MisconfigurationError
from leyden.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler


class Hooked(Regression):
    def on_train_epoch_start(self) -> None:
        torch.zeros(1)


def run(profiler: Any) -> L.Trainer:
    trainer = L.Trainer(**{**QUIET, "max_epochs": 2}, profiler=profiler)
    trainer.fit(Hooked(), loader(8), loader(4))
    return trainer


def test_actions_are_counted_and_timed() -> None:
    profiler = SimpleProfiler()
    run(profiler)
    calls = {name: len(seconds) for name, seconds in profiler.recorded_durations.items()}
    assert calls == {
        "run_training_epoch": 2,
        "run_training_batch": 4,
        "[TrainingLoop].train_dataloader_next": 4,
        "[LightningModule]Hooked.training_step": 4,
        "[LightningModule]Hooked.validation_step": 2,
        "[LightningModule]Hooked.on_train_epoch_start": 2,
        "[LightningModule]Hooked.on_validation_model_eval": 2,
        "[LightningModule]Hooked.on_validation_model_zero_grad": 2,
    }
    whole = sum(profiler.recorded_durations["run_training_epoch"])
    assert sum(profiler.recorded_durations["run_training_batch"]) < whole


@pytest.mark.parametrize("extended", [True, False])
def test_the_longest_action_comes_first(extended: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run(SimpleProfiler(extended=extended))
    head, _, first, *_ = capsys.readouterr().out.splitlines()
    assert ("Calls" in head) == extended and "Mean (s)" in head
    assert first.startswith("run_training_epoch")


def test_the_summary_goes_to_a_file(tmp_path: Path) -> None:
    run(AdvancedProfiler(tmp_path, "profile"))
    text = (tmp_path / "fit-profile.txt").read_text()
    assert "Profile of run_training_epoch" in text and "(training_step)" in text


def test_operators_and_ranges_are_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(PyTorchProfiler(tmp_path))
    assert "aten::linear" in capsys.readouterr().out
    events = json.loads((tmp_path / "fit-trace.json").read_text())["traceEvents"]
    assert "[LightningModule]Hooked.training_step" in {event.get("name") for event in events}


def test_an_action_that_was_not_begun_cannot_end() -> None:
    with pytest.raises(ValueError, match="'later' ends and has not begun"):
        SimpleProfiler().stop("later")


def test_profilers_have_names() -> None:
    assert isinstance(L.Trainer(**QUIET, profiler="simple").profiler, SimpleProfiler)
    with pytest.raises(MisconfigurationError, match=r"profiler='fast' .* 'simple', 'advanced', 'pytorch'"):
        L.Trainer(**QUIET, profiler="fast")
