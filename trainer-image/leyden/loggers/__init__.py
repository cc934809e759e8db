"""Where logged values go: ``Trainer(logger=...)``."""

from leyden.loggers.base import Logger
from leyden.loggers.csv_logs import CSVLogger

__all__ = ["CSVLogger", "Logger"]
