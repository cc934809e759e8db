"""Where logged values go: ``Trainer(logger=...)``."""

from leyden.loggers.base import Logger
from leyden.loggers.csv_logs import CSVLogger
from leyden.loggers.json_lines import JSONLinesLogger

__all__ = ["CSVLogger", "JSONLinesLogger", "Logger"]
