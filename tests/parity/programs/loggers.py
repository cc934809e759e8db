"""What loggers are told, and what those with a library behind them keep of it."""

from __future__ import annotations

import csv
import importlib
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from parity.models import Data, Trained, Whole, loader
from parity.recording import Seen, program


class Configured(Whole):
    """Has hyperparameters, some of them nested."""

    dropout = 0.0

    def __init__(self, lr: float = 0.1, depth: int = 2, nested: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr


class Telling(Logger):
    """Notes what it is told, but for the steps' metrics."""

    def __init__(self, seen: Seen, name: str = "first") -> None:
        super().__init__()
        self.calls = seen.calls
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> int:
        return 3

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls.append(f"{self._name} log_metrics {sorted(metrics)} {step}")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.append(f"{self._name} log_hyperparams {sorted(dict(params))}")

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        self.calls.append(f"{self._name} log_graph")

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.calls.append(f"{self._name} after_save_checkpoint {Path(checkpoint_callback.best_model_path).name}")

    def finalize(self, status: str) -> None:
        self.calls.append(f"{self._name} finalize {status}")


@program
def a_logger_is_told(seen: Seen) -> None:
    saving = ModelCheckpoint(seen.folder, filename="{epoch}", monitor="val_loss", save_top_k=-1)
    trainer = seen.trainer(logger=Telling(seen), callbacks=[saving])
    module = seen.watched(Configured())
    trainer.fit(module, loader(4), loader(4))
    trainer.validate(module, loader(4), verbose=False)
    trainer.test(module, loader(4), verbose=False)
    seen.values["logger"] = (trainer.logger.name, len(trainer.loggers), trainer.log_dir)


@program
def two_loggers_are_told(seen: Seen) -> None:
    trainer = seen.trainer(logger=[Telling(seen), Telling(seen, "second")], log_every_n_steps=2)
    trainer.fit(seen.watched(Trained()), loader())


@program
def a_logger_hears_of_a_failure(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("broken")

    seen.trainer(logger=Telling(seen)).fit(seen.watched(Model()), loader(4))


@program
def hyperparameters_of_module_and_data(seen: Seen) -> None:
    class Sized(Data):
        def __init__(self, size: int = 4, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()

    seen.trainer(logger=Telling(seen), max_epochs=1).fit(seen.watched(Configured()), datamodule=Sized())


@program
def hyperparameters_that_disagree(seen: Seen) -> None:
    class Sized(Data):
        def __init__(self, lr: float = 0.5) -> None:
            super().__init__()
            self.save_hyperparameters()

    seen.trainer(logger=Telling(seen), max_epochs=1).fit(seen.watched(Configured()), datamodule=Sized())


@program
def hyperparameters_stay_away_from_loggers(seen: Seen) -> None:
    class Secret(Trained):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters(logger=False)

    seen.trainer(logger=Telling(seen), max_epochs=1).fit(seen.watched(Secret()), loader(4))
    seen.trainer(logger=Telling(seen), max_epochs=1, enable_autolog_hparams=False).fit(Configured(), loader(4))


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@program
def rows_of_a_csv_file(seen: Seen) -> None:
    for prefix, every in (("", 100), ("run", 1)):
        logger = CSVLogger(seen.folder, name="digits", prefix=prefix, flush_logs_every_n_steps=every)
        seen.trainer(logger=logger, log_every_n_steps=2).fit(seen.watched(Configured()), loader(), loader(4))
        table = Path(logger.log_dir) / "metrics.csv"
        seen.values[f"rows {prefix}"] = rows(table)
        seen.values[f"columns {prefix}"] = table.read_text().splitlines()[0]
        seen.values[f"files {prefix}"] = sorted(path.name for path in Path(logger.log_dir).iterdir())
        seen.values[f"where {prefix}"] = [
            str(Path(path).relative_to(seen.folder)) for path in (logger.log_dir, logger.root_dir, logger.save_dir)
        ]


@program
def scalars_of_tensorboard(seen: Seen) -> None:
    logger = TensorBoardLogger(seen.folder, name="digits", version="one", prefix="p", sub_dir="sub")
    seen.trainer(logger=logger, log_every_n_steps=2).fit(seen.watched(Configured(nested={"a": 1})), loader(), loader(4))
    logger.log_hyperparams(Namespace(width=3), {"score": 0.5})
    logger.log_metrics({"group": {"a": 1.0, "b": 2.0}}, step=3)
    logger.finalize("success")
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    reader = events.EventAccumulator(logger.log_dir).Reload()
    tags = reader.Tags()
    seen.values["scalars"] = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in tags["scalars"]}
    seen.values["files"] = sorted(path.name.split(".")[0] for path in Path(logger.log_dir).iterdir())
    seen.values["where"] = [str(Path(path).relative_to(seen.folder)) for path in (logger.log_dir, logger.root_dir)]


@program
def a_graph_for_tensorboard(seen: Seen) -> None:
    class Model(Configured):
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = torch.zeros(2, 4)

    logger = TensorBoardLogger(seen.folder, log_graph=True, default_hp_metric=False)
    seen.trainer(logger=logger, max_epochs=1).fit(seen.watched(Model()), loader(4))
    logger.finalize("success")
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    tags = events.EventAccumulator(logger.log_dir).Reload().Tags()
    seen.values["graph"] = (tags["graph"], sorted(tags["scalars"]))


@program
def a_run_of_mlflow(seen: Seen) -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    logger = MLFlowLogger("digits", run_name="one", save_dir=str(seen.folder / "runs"), tags={"a": "b"}, log_model=True)
    saving = ModelCheckpoint(seen.folder / "saved", filename="{epoch}", monitor="val_loss")
    trainer = seen.trainer(logger=logger, callbacks=[saving], log_every_n_steps=2)
    trainer.fit(seen.watched(Configured(nested={"a": 1})), loader(), loader(4))
    client, run_id = logger.experiment, logger.run_id
    run = client.get_run(run_id)
    seen.values["run"] = (run.info.status, run.data.params, run.data.tags["mlflow.runName"], run.data.tags["a"])
    seen.values["metrics"] = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]
        for name in run.data.metrics
    }
    artifacts = [client.list_artifacts(run_id, folder.path) for folder in client.list_artifacts(run_id)]
    seen.values["artifacts"] = sorted(item.path for folder in artifacts for item in folder)
    seen.values["save_dir"] = Path(str(logger.save_dir)).name


@program
def a_run_of_wandb(seen: Seen) -> None:
    os.environ["WANDB_SILENT"] = "true"
    logger = WandbLogger("one", save_dir=seen.folder, offline=True, project="digits", id="abc", prefix="p")
    trainer = seen.trainer(logger=logger, log_every_n_steps=2)
    trainer.fit(seen.watched(Configured(nested={"a": 1})), loader(), loader(4))
    run = logger.experiment
    seen.values["run"] = (run.name, logger.name, logger.version, dict(run.config))
    kept = dict(run.summary)
    seen.values["summary"] = {name: float(value) for name, value in kept.items() if not name.startswith("_")}
    run.finish()


@program
def a_dummy_takes_everything(seen: Seen) -> None:
    from lightning.pytorch.loggers.logger import DummyLogger

    class Model(Trained):
        def on_train_epoch_end(self) -> None:
            self.logger.experiment.add_histogram("a", self.network[0].weight)

    seen.trainer(logger=DummyLogger()).fit(seen.watched(Model()), loader(4))


@program
def the_bar_shows_versions(seen: Seen) -> None:
    class Bar(pl.callbacks.TQDMProgressBar):
        def get_metrics(self, trainer: Any, pl_module: Any) -> Any:
            items = super().get_metrics(trainer, pl_module)
            seen.values["bar"] = sorted(items), items["v_num"]
            return items

    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("shown", float(batch_idx), prog_bar=True)
            return self.loss(batch)

    bar = Bar(refresh_rate=1)
    trainer = seen.trainer(logger=Telling(seen), callbacks=[bar], enable_progress_bar=True)
    trainer.fit(seen.watched(Model()), loader(4))
    seen.values["totals"] = (bar.total_train_batches, bar.is_enabled, bar.refresh_rate)
