"""Loggers: what each writes, and that none of them can end or change a run."""

from __future__ import annotations

import csv
import importlib
import json
import socket
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.callbacks import ModelCheckpoint
from leyden.errors import MisconfigurationError
from leyden.loggers import (
    CSVLogger,
    DummyLogger,
    JSONLinesLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)


def train(logger: Any, **options: Any) -> Regression:
    torch.manual_seed(3)
    module = Regression()
    settings = {**QUIET, "max_epochs": 1, "log_every_n_steps": 2, "logger": logger, **options}
    L.Trainer(**settings).fit(module, loader(16, shuffle=False), loader(4, shuffle=False))
    return module


def events(folder: str) -> Any:
    """TensorBoard's own reader."""
    return importlib.import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(folder)


def test_a_csv_file_has_a_prefix_a_version_and_the_hyperparameters(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path, name="digits", prefix="run", flush_logs_every_n_steps=1) for _ in range(2)]
    for logger in loggers:
        train(logger)
    assert [Path(logger.log_dir).relative_to(tmp_path).as_posix() for logger in loggers] == [
        "digits/version_0",
        "digits/version_1",
    ]
    with (tmp_path / "digits/version_0/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "3", "3", "3"]
    assert float(rows[0]["run-loss_step"]) > 0 and {"run-epoch", "run-val_loss", "run-loss_epoch"} <= set(rows[0])
    hparams = json.loads((tmp_path / "digits/version_1/hparams.yaml").read_text())
    assert hparams == {"width": 4, "lr": 0.05, "dropout": 0.2}


def test_a_csv_file_that_is_there_keeps_its_rows_and_columns(tmp_path: Path) -> None:
    for step, name in enumerate(("loss", "accuracy", "loss")):
        logger = CSVLogger(tmp_path, version="one")
        logger.log_metrics({name: 0.5}, step)
        logger.save()
    with (tmp_path / "lightning_logs/one/metrics.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["accuracy", "loss", "step"], ["", "0.5", "0"], ["0.5", "", "1"], ["", "0.5", "2"]]


def test_tensorboard_has_metrics_hyperparameters_and_the_graph(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="first", log_graph=True, prefix="p", sub_dir="fit")
    plain = train(False)

    class Graphed(Regression):
        example_input_array = torch.zeros(2, 4)

    torch.manual_seed(3)
    module = Graphed()
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, "log_every_n_steps": 2, "logger": logger})
    trainer.fit(module, loader(16, shuffle=False), loader(4, shuffle=False))
    assert logger.log_dir == str(tmp_path / "first/fit")
    logger.log_hyperparams(Namespace(depth=3), metrics={"score": 0.5})
    logger.log_metrics({"grouped": {"a": 1.0, "b": 2.0}}, step=1)
    logger.experiment.flush()
    reader = events(logger.log_dir).Reload()
    found = {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    assert [step for step, _ in found["p-loss_step"]] == [1, 3] and found["p-hp_metric"] == [(0, -1.0)]
    assert found["p-score"] == [(0, 0.5)] and [step for step, _ in found["p-val_loss"]] == [3]
    assert any("Linear" in node.name for node in reader.Graph().node)
    assert "_hparams_/session_start_info" in reader.PluginTagToContent("hparams")
    assert json.loads((Path(logger.log_dir) / "hparams.yaml").read_text())["depth"] == 3
    for name, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), "writing the graph changed the run"


def test_a_graph_without_an_example_is_one_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no graph for TensorBoard: example_input_array is not set"):
        train(TensorBoardLogger(tmp_path, log_graph=True))


def test_mlflow_has_metrics_parameters_tags_and_checkpoints(tmp_path: Path) -> None:
    logger = MLFlowLogger(
        "digits", run_name="first", save_dir=str(tmp_path / "runs"), tags={"team": "a"}, prefix="p", log_model="all"
    )
    train(
        logger,
        enable_checkpointing=True,
        callbacks=[ModelCheckpoint(tmp_path / "saved", monitor="val_loss", filename="best")],
    )
    run = logger.experiment.get_run(logger.run_id)
    assert (run.info.status, run.data.tags["mlflow.runName"], run.data.tags["team"]) == ("FINISHED", "first", "a")
    assert run.data.params == {"width": "4", "lr": "0.05", "dropout": "0.2"}
    history = logger.experiment.get_metric_history(logger.run_id, "p-loss_step")
    assert [metric.step for metric in history] == [1, 3]
    artifacts = {item.path for item in logger.experiment.list_artifacts(logger.run_id, "best")}
    assert artifacts == {"best/best.ckpt", "best/metadata.yaml", "best/aliases.txt"}
    assert logger.save_dir == str(tmp_path / "runs") and (logger.name, logger.version) == (
        run.info.experiment_id,
        logger.run_id,
    )
    again = MLFlowLogger("digits", save_dir=str(tmp_path / "runs"), run_id=logger.run_id)
    assert again.experiment_id == logger.experiment_id, "a run that exists is gone on with"
    again.log_hyperparams({f"choice{number}": number for number in range(150)})
    assert len(again.experiment.get_run(again.run_id).data.params) == 153, "more than MLflow takes at once"


def test_mlflow_uploads_the_best_at_the_end(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=str(tmp_path / "runs"), log_model=True)
    callback = ModelCheckpoint(tmp_path / "saved", monitor="val_loss", filename="{epoch}")
    train(logger, enable_checkpointing=True, callbacks=[callback], max_epochs=3)
    assert list((tmp_path / "runs").glob(f"*/{logger.run_id}")), "each logger has its own place"
    names = [item.path for item in logger.experiment.list_artifacts(logger.run_id)]
    assert names == [Path(callback.best_model_path).stem]
    assert (tmp_path / "saved").joinpath(f"{names[0]}.ckpt").is_file()


def test_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger("first", save_dir=tmp_path, offline=True, project="digits", id="run1", prefix="p")
    try:
        train(logger)
        run = logger.experiment
        assert (logger.name, logger.version, run.name, run.offline) == ("digits", "run1", "first", True)
        assert dict(run.config) == {"width": 4, "lr": 0.05, "dropout": 0.2}
        assert run.summary["p-loss_step"] > 0 and run.summary["trainer/global_step"] == 3
        logger.log_text("words", columns=["word"], data=[["a"], ["b"]])
        logger.log_image("pictures", [torch.zeros(3, 4, 4)], caption=["empty"])
        assert run.summary["p-pictures"]["count"] == 1
        with pytest.raises(MisconfigurationError, match=r"caption=\[\] is not allowed: it must be a list of 1"):
            logger.log_image("pictures", [torch.zeros(3, 4, 4)], caption=[])
    finally:
        logger.experiment.finish()
    assert list(tmp_path.glob("wandb/offline-run-*-run1/run-run1.wandb"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(
            lambda: CSVLogger(".", flush_logs_every_n_steps=0),
            "flush_logs_every_n_steps=0 is not allowed: it must be an integer of at least 1",
            id="flush",
        ),
        pytest.param(
            lambda: MLFlowLogger(log_model="best"),
            "log_model='best' is not allowed: it must be one of False, True, 'all'",
            id="log-model",
        ),
        pytest.param(
            lambda: WandbLogger(offline=True, log_model="all"),
            "offline=True and log_model='all' exclude each other: checkpoints are not kept offline",
            id="offline-model",
        ),
        pytest.param(
            lambda: L.Trainer(logger=[CSVLogger("."), "csv"], accelerator="cpu"),
            "logger='csv' is not allowed: it must be a Logger, a list of them, True, False or None",
            id="not-a-logger",
        ),
    ],
)
def test_wrong_arguments_are_named(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationError) as error:
        make()
    assert str(error.value) == said


class Failing(DummyLogger):
    """Fails from a call on."""

    def __init__(self, method: str) -> None:
        self.calls: list[str] = []
        for name in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint"):
            setattr(self, name, self._call(name, name == method))

    def _call(self, name: str, fails: bool) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            self.calls.append(name)
            if fails:
                raise ConnectionError("the server is gone\nand so is its log")

        return call


@pytest.mark.parametrize("method", ["log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint"])
def test_a_failing_logger_is_left_out_with_one_warning(tmp_path: Path, method: str) -> None:
    plain = train(False)
    failing, other = Failing(method), JSONLinesLogger(tmp_path)
    saving = {"enable_checkpointing": True, "callbacks": [ModelCheckpoint(tmp_path)]}
    with pytest.warns(UserWarning) as warned:
        module = train([failing, other], **saving)
    said = [str(warning.message) for warning in warned if "left out" in str(warning.message)]
    assert said == [
        "Failing failed and is left out from here on, training goes on: ConnectionError: the server is gone"
    ]
    assert failing.calls.count(method) == 1 and failing.calls[-1] == method, failing.calls
    lines = (tmp_path / "lightning_logs/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 5, "the other logger has all of it"
    for name, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)


@pytest.mark.parametrize(
    ("make", "package"),
    [
        (lambda folder: TensorBoardLogger(folder), "tensorboard"),
        (lambda folder: MLFlowLogger(save_dir=str(folder)), "mlflow"),
        (lambda folder: WandbLogger(save_dir=folder, offline=True), "wandb"),
    ],
)
def test_a_run_goes_on_without_a_package(tmp_path: Path, monkeypatch: Any, make: Any, package: str) -> None:
    class Drawing(Regression):
        def on_train_epoch_end(self) -> None:
            self.logger.experiment.add_histogram("weights", self.network[0].weight)

    real = importlib.import_module

    def without(name: str, *args: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.warns(UserWarning, match=f"{package}.* is not installed: pip install {package}") as warned:
        L.Trainer(**{**QUIET, "logger": make(tmp_path), "max_epochs": 2}).fit(Drawing(), loader(8))
    assert len([warning for warning in warned if "left out" in str(warning.message)]) == 1


def test_a_server_that_is_not_there_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    importlib.import_module("mlflow")
    began = time.monotonic()
    with pytest.warns(UserWarning, match="MLFlowLogger failed and is left out from here on, training goes on"):
        train([MLFlowLogger(tracking_uri=address), CSVLogger(tmp_path)])
    assert time.monotonic() - began < 15
    assert (tmp_path / "lightning_logs/version_0/metrics.csv").is_file()


def test_hyperparameters_that_disagree_are_refused() -> None:
    class Data(L.LightningDataModule):
        def __init__(self, lr: float) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return loader(4)

    with pytest.raises(MisconfigurationError, match="both have hyperparameters lr and disagree"):
        L.Trainer(**{**QUIET, "logger": DummyLogger(), "max_epochs": 1}).fit(Regression(lr=0.1), datamodule=Data(0.2))


def test_hyperparameters_can_be_kept_from_loggers() -> None:
    taken: list[dict[str, Any]] = []

    class Taking(DummyLogger):
        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            taken.append(dict(params))

    class Secret(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters(logger=False)

    train(Taking(), enable_autolog_hparams=False)
    L.Trainer(**{**QUIET, "logger": Taking(), "max_epochs": 1}).fit(Secret(), loader(4))
    assert taken == []
    train([Taking(), Taking()])
    assert taken == [{"width": 4, "lr": 0.05, "dropout": 0.2}] * 2


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    # A test before this one may have left its process group, which knows the rank better than the launcher.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    loggers: list[Logger] = [CSVLogger(tmp_path, flush_logs_every_n_steps=1), JSONLinesLogger(tmp_path)]
    loggers += [TensorBoardLogger(tmp_path), MLFlowLogger(save_dir=str(tmp_path))]
    for logger in loggers:
        logger.log_hyperparams({"a": 1})
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.finalize("success")
    assert TensorBoardLogger(tmp_path).experiment.add_scalar("a", 1.0) is None
    assert list(tmp_path.iterdir()) == []
