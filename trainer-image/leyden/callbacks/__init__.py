"""What can be added to a run: ``Trainer(callbacks=[...])``. Those that few runs use are imported when first named."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback, Checkpoint
from leyden.callbacks.checkpoint_directory import CheckpointDirectory
from leyden.callbacks.early_stopping import EarlyStopping
from leyden.callbacks.model_checkpoint import ModelCheckpoint
from leyden.callbacks.model_summary import ModelSummary, RichModelSummary
from leyden.callbacks.progress import LineProgressBar, RichProgressBar, TQDMProgressBar
from leyden.callbacks.progress_base import ProgressBar

if TYPE_CHECKING:
    from leyden.callbacks.accumulation import GradientAccumulationScheduler
    from leyden.callbacks.device_stats_monitor import DeviceStatsMonitor
    from leyden.callbacks.finders import BatchSizeFinder, LearningRateFinder
    from leyden.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
    from leyden.callbacks.lambda_function import LambdaCallback
    from leyden.callbacks.lr_monitor import LearningRateMonitor
    from leyden.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
    from leyden.callbacks.prediction_writer import BasePredictionWriter, WriteInterval
    from leyden.callbacks.spike import SpikeDetection
    from leyden.callbacks.stochastic_weight_averaging import StochasticWeightAveraging
    from leyden.callbacks.throughput_monitor import ThroughputMonitor
    from leyden.callbacks.timer import Timer
    from leyden.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

_HOMES = {
    "BackboneFinetuning": "finetuning",
    "BaseFinetuning": "finetuning",
    "BasePredictionWriter": "prediction_writer",
    "BatchSizeFinder": "finders",
    "DeviceStatsMonitor": "device_stats_monitor",
    "EMAWeightAveraging": "weight_averaging",
    "GradientAccumulationScheduler": "accumulation",
    "LambdaCallback": "lambda_function",
    "LearningRateFinder": "finders",
    "LearningRateMonitor": "lr_monitor",
    "OnExceptionCheckpoint": "on_exception_checkpoint",
    "SpikeDetection": "spike",
    "StochasticWeightAveraging": "stochastic_weight_averaging",
    "ThroughputMonitor": "throughput_monitor",
    "Timer": "timer",
    "WeightAveraging": "weight_averaging",
    "WriteInterval": "prediction_writer",
}

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "Checkpoint",
    "CheckpointDirectory",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "LineProgressBar",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
    "WeightAveraging",
    "WriteInterval",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
