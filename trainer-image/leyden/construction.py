"""The Trainer's callbacks and loggers, from its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from leyden.callbacks import (
    Callback,
    Checkpoint,
    CheckpointDirectory,
    LineProgressBar,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
)
from leyden.callbacks.timer import Timer
from leyden.checkpoint.places import Place
from leyden.errors import MisconfigurationError, bad_value
from leyden.hooks import overrides
from leyden.loggers import CSVLogger, DummyLogger, Logger
from leyden.settings import seconds

K = TypeVar("K")


def choose_callbacks(arguments: dict[str, Any], planned: CheckpointDirectory | None, fast: bool) -> list[Callback]:
    """The run's callbacks in the order of their hooks, from the Trainer's arguments."""
    given, checkpointing = arguments["callbacks"], arguments["enable_checkpointing"]
    callbacks = _listed("callbacks", given, Callback, "a Callback or a list of them") if given is not None else []
    bars = [type(callback).__qualname__ for callback in callbacks if isinstance(callback, ProgressBar)]
    if bars and arguments["enable_progress_bar"] is False:
        raise MisconfigurationError(f"enable_progress_bar=False contradicts the {bars[0]} among the callbacks")
    if len(bars) > 1:
        raise MisconfigurationError(f"there is one progress bar in a run, and callbacks has {', '.join(bars)}")
    if planned is not None:
        callbacks = [callback for callback in callbacks if not isinstance(callback, CheckpointDirectory)] + [planned]
    saving = [callback for callback in callbacks if isinstance(callback, (Checkpoint, CheckpointDirectory))]
    savers = [type(callback).__qualname__ for callback in saving if isinstance(callback, Checkpoint)]
    if checkpointing is False and savers:
        raise MisconfigurationError(f"enable_checkpointing=False contradicts the {savers[0]} among the callbacks")
    if fast:
        callbacks = [callback for callback in callbacks if not isinstance(callback, CheckpointDirectory)]
    if checkpointing is not False and not saving:
        callbacks.append(ModelCheckpoint())
    callbacks += _defaults(arguments, callbacks)
    keys = [callback.state_key for callback in callbacks if overrides(callback, "state_dict")]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise MisconfigurationError(f"two callbacks would keep their state under {twice}: override state_key on one")
    return in_order(callbacks)


def _defaults(arguments: dict[str, Any], given: list[Callback]) -> list[Callback]:
    """What the arguments switch on and nobody gave."""
    wanted: list[tuple[bool, type[Callback], Callable[[], Callback]]] = [
        (arguments["enable_progress_bar"] is not False, ProgressBar, LineProgressBar),
        (arguments["enable_model_summary"] is not False, ModelSummary, ModelSummary),
        (arguments["max_time"] is not None, Timer, lambda: _timer(arguments["max_time"])),
    ]
    return [make() for is_wanted, kind, make in wanted if is_wanted and not any(isinstance(c, kind) for c in given)]


def is_timed(arguments: dict[str, Any]) -> bool:
    """Whether a :class:`Timer` ends the run, given as such or as ``max_time``."""
    given = arguments["callbacks"]
    callbacks = given if isinstance(given, (list, tuple)) else [given]
    return arguments["max_time"] is not None or any(isinstance(callback, Timer) for callback in callbacks)


def _timer(max_time: Any) -> Timer:
    return Timer(timedelta(seconds=seconds("max_time", max_time)))


def in_order(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks that search for hyperparameters come first, and those that save last: they see what the others did."""
    saving = (Checkpoint, CheckpointDirectory)
    return sorted(callbacks, key=lambda callback: 2 if isinstance(callback, saving) else not callback.searches)


def choose_loggers(given: Any, root: Place, in_job: bool, fast: bool) -> list[Logger]:
    """The run's loggers; the default is a CSV file, and none in a job, whose metrics go to its status.

    ``fast``: one that takes everything and keeps nothing, so that a program that asks for its logger runs to its end.
    """
    if given is False or given == [] or (given is None and in_job):
        return []
    if fast:
        return [DummyLogger()]
    if given in (None, True):
        return [CSVLogger(root if isinstance(root, Path) else Path.cwd())]
    return _listed("logger", given, Logger, "a Logger, a list of them, True, False or None")


def _listed(field: str, given: Any, kind: type[K], allowed: str) -> list[K]:
    """One object or several, as a list."""
    entries = list(given) if isinstance(given, Iterable) else [given]
    for entry in entries:
        if not isinstance(entry, kind):
            raise bad_value(field, entry, allowed)
    return entries
