"""The Trainer's arguments, checked."""

from __future__ import annotations

import ast
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from leyden.checkpoint.places import Place, place
from leyden.errors import MisconfigurationError, at_least, bad_value, one_of
from leyden.optim import CLIP_ALGORITHMS

Limit = int | float | None
Duration = str | timedelta | dict[str, int]
"""``DD:HH:MM:SS``, a timedelta, or its keyword arguments."""

ENVIRONMENT_PREFIX = "PL_TRAINER_"
"""Lightning's: ``PL_TRAINER_MAX_EPOCHS=3`` is what ``max_epochs`` is when the program gives none."""

OFF_WHEN_BAREBONES = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 0,
    "fast_dev_run": False,
    "detect_anomaly": False,
    "profiler": None,
}
"""What ``barebones`` switches off, and with which value."""

DURATION = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Settings:
    """What a run does, apart from where. Names and defaults are the Trainer's."""

    max_epochs: int
    min_epochs: int
    max_steps: int
    min_steps: int
    limit_train_batches: Limit
    limit_val_batches: Limit
    limit_test_batches: Limit
    limit_predict_batches: Limit
    val_check_interval: int | float | timedelta
    check_val_every_n_epoch: int | None
    num_sanity_val_steps: int
    log_every_n_steps: int
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    gradient_clip_algorithm: str | None
    inference_mode: bool
    use_distributed_sampler: bool
    detect_anomaly: bool
    fast_dev_run: int
    overfit_batches: int | float
    default_root_dir: Place
    reload_dataloaders_every_n_epochs: int
    barebones: bool

    @classmethod
    def of(cls, given: dict[str, Any], timed: bool = False) -> Settings:
        """Check and complete the Trainer's arguments. Raises ``MisconfigurationError`` by field.

        ``timed``: a time ends training where nothing else does.
        """
        values = {field.name: given[field.name] for field in fields(cls)}
        fast = values["fast_dev_run"] = at_least("fast_dev_run", int(values["fast_dev_run"] or 0), 0)
        for name in ("train", "val", "test", "predict"):
            field = f"limit_{name}_batches"
            values[field] = fast or _limit(field, values[field])
        overfit = values["overfit_batches"] = _limit("overfit_batches", values["overfit_batches"]) or 0
        if overfit:
            values["limit_train_batches"] = values["limit_val_batches"] = overfit
        values.update(_lengths(values, fast, timed))
        values["gradient_clip_algorithm"] = _clipping(values["gradient_clip_val"], values["gradient_clip_algorithm"])
        if fast:
            values.update(val_check_interval=1.0, check_val_every_n_epoch=1)
        interval = values["val_check_interval"]
        values["val_check_interval"] = 1.0 if interval is None else _interval(interval)
        every = values["check_val_every_n_epoch"]
        if every is not None:
            values["check_val_every_n_epoch"] = at_least("check_val_every_n_epoch", every, 1)
        elif isinstance(interval, float):
            raise bad_value("val_check_interval", interval, "a number of batches where check_val_every_n_epoch=None")
        for name, default, least in (
            ("reload_dataloaders_every_n_epochs", 0, 0),
            ("log_every_n_steps", 50, 0),
            ("accumulate_grad_batches", 1, 1),
            ("num_sanity_val_steps", 2, -1),
        ):
            values[name] = at_least(name, default if values[name] is None else values[name], least)
        if fast:
            values["num_sanity_val_steps"] = 0
        values["default_root_dir"] = place(values["default_root_dir"] or Path.cwd())
        return cls(**values)


T = TypeVar("T")


class Setting(Generic[T]):
    """A setting as an attribute of the Trainer; a new value counts from the next run on."""

    def __init__(self, default: T | None = None) -> None:
        """``default`` is what ``None`` means."""
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, trainer: Any, owner: type | None = None) -> T:
        value: T | None = getattr(trainer.settings, self.name) if trainer is not None else None
        return self.default if value is None else value  # type: ignore[return-value]  # T allows None where it can be

    def __set__(self, trainer: Any, value: T) -> None:
        trainer.settings = replace(trainer.settings, **{self.name: value})


def _lengths(values: dict[str, Any], fast: int, timed: bool) -> dict[str, int]:
    """How long training lasts: 1000 epochs where neither epochs nor steps nor time are limited."""
    steps = at_least("max_steps", values["max_steps"], -1)
    epochs = values["max_epochs"]
    if epochs is None:
        epochs = 1000 if steps == -1 and not timed else -1
    if fast:
        epochs, steps = 1, fast
    least = values["min_epochs"]
    return {
        "max_steps": steps,
        "max_epochs": at_least("max_epochs", epochs, -1),
        "min_epochs": at_least("min_epochs", int(values["min_steps"] is not None) if least is None else least, 0),
        "min_steps": at_least("min_steps", values["min_steps"] or 0, 0),
    }


def _limit(field: str, given: Any) -> Limit:
    if isinstance(given, float) and 0.0 <= given <= 1.0:
        return given
    allowed = "a number of batches (an integer) or a share of them (a float from 0.0 to 1.0)"
    return None if given is None else at_least(field, given, 0, allowed)


def timedelta_of(field: str, given: Duration) -> timedelta:
    """A duration in any of its forms. Raises ``MisconfigurationError``."""
    if isinstance(given, timedelta):
        return given
    if isinstance(given, str) and (found := DURATION.fullmatch(given.strip())):
        days, hours, minutes, seconds = map(int, found.groups())
        return timedelta(days, seconds, hours=hours, minutes=minutes)
    if isinstance(given, dict):
        try:
            return timedelta(**given)
        except TypeError:
            pass
    raise bad_value(field, given, "'DD:HH:MM:SS', a timedelta, or a dict of its arguments, like {'hours': 2}")


def _interval(given: Any) -> int | float | timedelta:
    if isinstance(given, float) and 0.0 < given <= 1.0:
        return given
    if isinstance(given, (str, timedelta, dict)):
        return timedelta_of("val_check_interval", given)
    allowed = "a number of batches (an integer), a share of an epoch (0.0 to 1.0), or a time ('DD:HH:MM:SS', timedelta)"
    return at_least("val_check_interval", given, 1, allowed)


def _clipping(value: Any, algorithm: Any) -> str | None:
    """The algorithm, by its name in any case."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
        raise bad_value("gradient_clip_val", value, "a number of at least 0, or None")
    name = algorithm.lower() if isinstance(algorithm, str) else algorithm
    if name is not None and name not in CLIP_ALGORITHMS:
        raise one_of("gradient_clip_algorithm", algorithm, CLIP_ALGORITHMS)
    return name


def check_interval(settings: Settings, batches: float) -> None:
    """Whether an epoch of so many batches, infinite where unknown, can be validated as often as asked."""
    interval, within_epochs = settings.val_check_interval, settings.check_val_every_n_epoch is not None
    if within_epochs and isinstance(interval, int) and 0 < batches < interval:
        allowed = f"at most the {batches:.0f} batches of an epoch; check_val_every_n_epoch=None counts across epochs"
        raise bad_value("val_check_interval", interval, allowed)
    if isinstance(interval, float) and interval != 1.0 and math.isinf(batches):
        allowed = "1.0 or a number of batches, for the training loader does not know how many it has"
        raise bad_value("val_check_interval", interval, allowed)


def forbid_with_manual_optimization(settings: Settings) -> None:
    """Arguments that would act on steps which the user takes."""
    if settings.gradient_clip_val:
        raise MisconfigurationError(
            "gradient_clip_val has no effect with automatic_optimization = False: call self.clip_gradients(...)"
        )
    if settings.accumulate_grad_batches != 1:
        raise MisconfigurationError(
            "accumulate_grad_batches has no effect with automatic_optimization = False: accumulate in training_step"
        )


def from_environment(init: Callable[..., None]) -> Callable[..., None]:
    """An ``__init__`` whose keyword arguments, where not given, are looked up in the environment."""
    names = [name for name in inspect.signature(init).parameters if name != "self"]

    @functools.wraps(init)
    def wrapped(self: Any, **given: Any) -> None:
        init(self, **{**environment_values(names), **given})

    return wrapped


def environment_values(names: Iterable[str]) -> dict[str, Any]:
    """The Trainer's arguments that the environment gives."""
    given = {name: os.environ.get(f"{ENVIRONMENT_PREFIX}{name.upper()}") for name in names}
    return {name: _literal(text) for name, text in given.items() if text is not None}


def _literal(text: str) -> Any:
    """A Python literal, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def strip_to_the_bones(given: dict[str, Any]) -> None:
    """Switch off, in a Trainer's arguments, all that costs time beside the user's own code."""
    for name, off in OFF_WHEN_BAREBONES.items():
        if given[name] not in (None, off):
            raise bad_value(name, given[name], f"left out, or {off!r}, with barebones=True")
        given[name] = off
