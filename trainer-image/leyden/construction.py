"""The Trainer's callbacks and loggers, from its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leyden.callbacks import Callback, CheckpointDirectory, ModelCheckpoint, ProgressBar
from leyden.errors import MisconfigurationError, bad_value
from leyden.loggers import CSVLogger, Logger


def choose_callbacks(
    given: Any, planned: CheckpointDirectory | None, checkpointing: bool | None, bar: bool | None, fast: bool
) -> list[Callback]:
    """The run's callbacks in the order of their hooks."""
    callbacks = [given] if isinstance(given, Callback) else list(given or [])
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise bad_value("callbacks", type(callback).__qualname__, "Callback objects")
    if planned is not None:
        callbacks = [callback for callback in callbacks if not isinstance(callback, CheckpointDirectory)] + [planned]
    saving = [callback for callback in callbacks if isinstance(callback, (ModelCheckpoint, CheckpointDirectory))]
    if checkpointing is False and any(isinstance(callback, ModelCheckpoint) for callback in saving):
        raise MisconfigurationError("enable_checkpointing=False contradicts the ModelCheckpoint among the callbacks")
    if fast:
        callbacks = [callback for callback in callbacks if callback not in saving]
    elif checkpointing is not False and not saving:
        callbacks.append(ModelCheckpoint())
    if bar is not False and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        callbacks.append(ProgressBar())
    keys = [callback.state_key for callback in callbacks if callback.state_dict()]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise MisconfigurationError(f"two callbacks would keep their state under {twice}: override state_key on one")
    return in_order(callbacks)


def in_order(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks that save come last, so that they see what the others did."""
    saving = (ModelCheckpoint, CheckpointDirectory)
    return sorted(callbacks, key=lambda callback: isinstance(callback, saving))


def choose_loggers(given: Any, root: Path, in_job: bool, fast: bool) -> list[Logger]:
    """The run's loggers; the default is a CSV file, and none in a job, whose metrics go to its status."""
    if fast or given is False or (given is None and in_job):
        return []
    if given in (None, True):
        return [CSVLogger(root)]
    loggers = [given] if isinstance(given, Logger) else list(given)
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise bad_value("logger", type(logger).__qualname__, "a Logger, a list of them, True, False or None")
    return loggers
