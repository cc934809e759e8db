"""The Trainer's callbacks and loggers, from its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from leyden.settings import timedelta_of

K = TypeVar("K")


SAVING = (Checkpoint, CheckpointDirectory)


def choose_callbacks(arguments: dict[str, Any], planned: CheckpointDirectory | None) -> list[Callback]:
    """The run's callbacks in the order of their hooks, from the Trainer's arguments."""
    given = arguments["callbacks"]
    callbacks = _listed("callbacks", given, Callback, "a Callback or a list of them") if given is not None else []
    bars = _names(callbacks, ProgressBar)
    for switch, names in (("enable_progress_bar", bars), ("enable_checkpointing", _names(callbacks, Checkpoint))):
        if arguments[switch] is False and names:
            raise MisconfigurationError(f"{switch}=False contradicts the {names[0]} among the callbacks")
    if len(bars) > 1:
        raise MisconfigurationError(f"there is one progress bar in a run, and callbacks has {', '.join(bars)}")
    if planned is not None:
        callbacks = [*_without_directories(callbacks), planned]
    callbacks += _defaults(arguments, callbacks)
    if arguments["fast_dev_run"]:
        callbacks = _without_directories(callbacks)
    keys = [callback.state_key for callback in callbacks if overrides(callback, "state_dict")]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise MisconfigurationError(f"two callbacks would keep their state under {twice}: override state_key on one")
    return in_order(callbacks)


def _names(callbacks: list[Callback], kind: type[Callback]) -> list[str]:
    return [type(callback).__qualname__ for callback in callbacks if isinstance(callback, kind)]


def _without_directories(callbacks: list[Callback]) -> list[Callback]:
    return [callback for callback in callbacks if not isinstance(callback, CheckpointDirectory)]


def _defaults(arguments: dict[str, Any], given: list[Callback]) -> list[Callback]:
    """What the arguments switch on and nobody gave."""
    max_time = arguments["max_time"]
    wanted: list[tuple[bool, Any, Callable[[], Callback]]] = [
        (arguments["enable_checkpointing"] is not False, SAVING, ModelCheckpoint),
        (arguments["enable_progress_bar"] is not False, ProgressBar, LineProgressBar),
        (arguments["enable_model_summary"] is not False, ModelSummary, ModelSummary),
        (max_time is not None, Timer, lambda: Timer(timedelta_of("max_time", max_time))),
    ]
    return [make() for is_wanted, kind, make in wanted if is_wanted and not any(isinstance(c, kind) for c in given)]


def in_order(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks that search for hyperparameters come first, and those that save last: they see what the others did."""
    return sorted(callbacks, key=lambda callback: 2 if isinstance(callback, SAVING) else not callback.searches)


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
