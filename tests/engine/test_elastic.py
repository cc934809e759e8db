"""What a rank tells its agent, and how a job's module is run."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.entry import run_module
from leyden.errors import LeydenError, MisconfigurationError
from leyden_contract.launch import CheckpointPlan, ModuleRun
from leyden_contract.wire import Event

MODULE = """
import leyden as L
from engine.programs import Regression as Base, loader

class LitSmall(Base):
    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)

class SmallData(L.LightningDataModule):
    def __init__(self, batch_size: int):
        self.batch_size = batch_size
    def train_dataloader(self):
        return loader(20, self.batch_size)
    def val_dataloader(self):
        return loader(8, shuffle=False)
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import absent_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "small", raising=False)
    return tmp_path


CONFIG = {"model": {"lr": 0.01}, "data": {"batch_size": 4}, "trainer": {"max_epochs": 2, "enable_progress_bar": False}}


def job(**changes: Any) -> ModuleRun:
    return ModuleRun.model_validate({"model": "small:LitSmall", "data": "small:SmallData", "config": CONFIG, **changes})


def test_a_module_run_trains_checkpoints_and_reports(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = workspace / "rank"
    shared.mkdir()
    plan = CheckpointPlan.model_validate(
        {"directory": str(workspace / "checkpoints"), "monitor": {"metric": "val_loss", "mode": "min"}}
    )
    monkeypatch.setenv("LEYDEN_RANK_DIR", str(shared))
    monkeypatch.setenv("LEYDEN_CHECKPOINT", plan.model_dump_json())
    run_module(job(), plan)
    # Of two epochs: training batches, validation batches, checkpoints; and the sanity check's two batches.
    assert ticks(shared) == 2 * (5 + 2 + 1) + 2
    events = [Event.model_validate_json(line) for line in (shared / "events.jsonl").read_text().splitlines()]
    progress = [event.progress for event in events if event.progress is not None]
    commits = [event.checkpoints for event in events if event.checkpoints is not None]
    assert (progress[-1].step, progress[-1].total_steps, progress[-1].percent) == (10, 10, 100.0)
    assert "val_loss" in progress[-1].metrics
    assert [commit.latest.step for commit in commits if commit.latest] == [5, 10]
    assert commits[-1].best is not None and len(commits[-1].kept) == 2


def test_a_jobs_config_builds_callbacks_and_loggers(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_STEPS", "3")
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "loss_epoch", "patience": "5"}}
    logger = [
        {"class_path": "leyden.loggers.JSONLinesLogger", "init_args": {"save_dir": str(workspace / "logs")}},
        {"class_path": "TensorBoardLogger", "init_args": {"save_dir": str(workspace / "board")}},
    ]
    trainer = {"callbacks": [stopping], "logger": logger, "max_epochs": 1, "log_every_n_steps": 1}
    run_module(job(config={**CONFIG, "trainer": trainer}), CheckpointPlan(directory=str(workspace / "checkpoints")))
    (log,) = (workspace / "logs").rglob("*.jsonl")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if "loss_step" in line]
    assert steps == [0, 1, 2]


def ticks(shared: Path) -> int:
    (count,) = struct.unpack("<q", (shared / "step").read_bytes())
    return int(count)


def test_a_test_after_training_counts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYDEN_RANK_DIR", str(tmp_path))
    module, trainer = Regression(), L.Trainer(max_epochs=1, accumulate_grad_batches=2, **QUIET)
    trainer.fit(module, loader(20, 4))
    assert ticks(tmp_path) == 5
    trainer.validate(module, loader(20, 4), verbose=False)
    assert ticks(tmp_path) == 10


def test_a_request_to_stop_commits_and_exits_75(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "stop").touch()
    monkeypatch.setenv("LEYDEN_RANK_DIR", str(workspace))
    plan = CheckpointPlan(directory=str(workspace / "checkpoints"))
    with pytest.raises(SystemExit) as stopped:
        run_module(job(), plan)
    assert stopped.value.code == 75
    assert [path.name for path in (workspace / "checkpoints").iterdir()] == ["step-000000000001"]


def config(section: str, **values: Any) -> dict[str, Any]:
    return {"config": {**CONFIG, section: values}}


@pytest.mark.parametrize(
    "changes, sentence",
    [
        pytest.param({"model": "digitz:LitDigits"}, "ModuleNotFound: digitz", id="no-such-module"),
        pytest.param({"model": "broken:X"}, "ModuleNotFound: absent_dependency, which broken", id="no-such-dependency"),
        pytest.param({"model": "small:Lit"}, "small has no 'Lit'; its classes are: LitSmall", id="no-such-class"),
        pytest.param({"model": "small"}, "package.module:Class", id="no-class-in-the-path"),
        pytest.param({"model": "small:SmallData"}, "is not a LightningModule", id="not-a-module"),
        pytest.param(config("model", rate=1), "config.model.rate is not an argument.*takes: lr", id="model-argument"),
        pytest.param(config("data"), "config.data lacks batch_size", id="missing-data-argument"),
        pytest.param(config("trainer", epochs=1), "config.trainer.epochs is not.*max_epochs", id="trainer-argument"),
        pytest.param(config("model", lr="fast"), "config.model.lr='fast' .* of type float$", id="model-value"),
        pytest.param(config("data", batch_size="x"), "config.data.batch_size='x' .* of type int$", id="data-value"),
        pytest.param(
            config("trainer", max_epochs="many"), "config.trainer.max_epochs='many' .* int or None$", id="trainer-value"
        ),
        pytest.param(
            config("trainer", logger={"class_path": "TensorBordLogger"}),
            "config.trainer.logger: no class is named 'TensorBordLogger'",
            id="no-such-logger",
        ),
        pytest.param(
            config("trainer", callbacks=[{"class_path": "leyden.callbacks.Early"}]),
            "config.trainer.callbacks: leyden.callbacks.Early: .* no attribute 'Early'$",
            id="unknown-callback",
        ),
        pytest.param(
            config("trainer", callbacks=[{"class_path": "EarlyStopping", "init_args": {"monito": "x"}}]),
            "config.trainer.callbacks: leyden.callbacks.EarlyStopping: Option 'monito' is not accepted$",
            id="callback-argument",
        ),
        pytest.param(
            config("trainer", callbacks=[{"class_path": "EarlyStopping", "init_args": {"monitor": "x", "mode": "up"}}]),
            "MisconfigurationError: mode='up' is not allowed: it must be one of 'min', 'max'$",
            id="callback-value",
        ),
        pytest.param(config("optimizer", lr=1), "one of model, data, trainer", id="unknown-section"),
    ],
)
def test_what_the_user_must_change_is_said_in_one_sentence(workspace: Path, changes: Any, sentence: str) -> None:
    with pytest.raises(LeydenError) as refused:
        run_module(job(**changes), CheckpointPlan(directory=str(workspace / "checkpoints")))
    assert not refused.value.retryable
    assert re.search(sentence, f"{refused.value.reason}: {refused.value}")


@pytest.mark.parametrize(
    "options, sentence",
    [
        pytest.param({"accelerator": "npu"}, "accelerator='npu' .* one of 'auto', 'cpu'", id="accelerator"),
        pytest.param({"strategy": "fsdpp"}, "strategy='fsdpp'", id="strategy"),
        pytest.param({"devices": 0}, "devices=0 .* at least 1", id="devices"),
        pytest.param({"precision": 17}, "precision=17 .* '32-true', '16-mixed', 'bf16-mixed'", id="precision"),
        pytest.param({"max_epochs": -2}, "max_epochs=-2 .* at least -1", id="max-epochs"),
        pytest.param({"limit_val_batches": 1.5}, "limit_val_batches=1.5 .* 0.0 to 1.0", id="limit"),
        pytest.param({"val_check_interval": 0}, "val_check_interval=0", id="validation-interval"),
        pytest.param({"gradient_clip_algorithm": "max"}, "'norm', 'value'", id="clip-algorithm"),
        pytest.param({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0", id="accumulation"),
        pytest.param({"callbacks": ["x"]}, "callbacks='x'", id="callbacks"),
    ],
)
def test_a_bad_trainer_argument_names_field_value_and_choice(options: Any, sentence: str) -> None:
    with pytest.raises(MisconfigurationError, match=sentence):
        L.Trainer(**{**QUIET, **options})


class NoLoss(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return "loss"


class LogsTwice(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("x", 1.0)
        self.log("x", 2.0, on_epoch=True)


class LogsAShape(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("x", batch[0])


@pytest.mark.parametrize(
    "module, sentence",
    [
        pytest.param(NoLoss, "training_step.. result.*a loss tensor", id="no-loss"),
        pytest.param(LogsTwice, "log.'x'. was called twice", id="two-ways-to-log"),
        pytest.param(LogsAShape, r"shape=\(4, 4\).*one element", id="not-a-number"),
        pytest.param(L.LightningModule, "has no training_step", id="nothing-to-train"),
    ],
)
def test_a_module_that_cannot_train_is_told_why(module: type[L.LightningModule], sentence: str) -> None:
    with pytest.raises(MisconfigurationError, match=sentence):
        L.Trainer(max_epochs=1, **QUIET).fit(module(), loader())
