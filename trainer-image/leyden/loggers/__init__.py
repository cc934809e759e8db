"""Where logged values go: ``Trainer(logger=...)``. Those with a library behind them are imported when first named."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leyden.loggers.base import DummyExperiment, DummyLogger, Logger, rank_zero_experiment
from leyden.loggers.csv_logs import CSVLogger
from leyden.loggers.json_lines import JSONLinesLogger

if TYPE_CHECKING:
    from leyden.loggers.mlflow import MLFlowLogger
    from leyden.loggers.tensorboard import TensorBoardLogger
    from leyden.loggers.wandb import WandbLogger

_HOMES = {"MLFlowLogger": "mlflow", "TensorBoardLogger": "tensorboard", "WandbLogger": "wandb"}

__all__ = [
    "CSVLogger",
    "DummyExperiment",
    "DummyLogger",
    "JSONLinesLogger",
    "Logger",
    "MLFlowLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "rank_zero_experiment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
