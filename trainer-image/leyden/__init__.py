"""Leyden's training engine: ``import leyden as L``. Names and behaviour are those of Lightning 2."""

from leyden import callbacks, errors, loggers, metrics
from leyden.callbacks import Callback
from leyden.data import LightningDataModule
from leyden.module import LightningModule
from leyden.rng import seed_everything
from leyden.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "Trainer",
    "callbacks",
    "errors",
    "loggers",
    "metrics",
    "seed_everything",
]
