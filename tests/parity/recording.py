"""What a program of the corpus shows of itself: the order of its hooks, what it logs, and the weights it ends with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only

from accelerator import ACCELERATOR

STAGES = ("train", "validation", "test", "predict")
HOOKS = (
    *(f"on_{kind}_{moment}" for kind in ("fit", *STAGES) for moment in ("start", "end")),
    *(f"on_{stage}_epoch_{moment}" for stage in STAGES for moment in ("start", "end")),
    *(f"on_{stage}_batch_{moment}" for stage in STAGES for moment in ("start", "end")),
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "setup",
    "teardown",
)
CALLBACK_HOOKS = (*HOOKS, "on_sanity_check_start", "on_sanity_check_end", "on_exception")
MODULE_HOOKS = (
    *HOOKS,
    "prepare_data",
    "configure_model",
    "configure_callbacks",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "on_validation_model_zero_grad",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
WHERE_OVERRIDDEN = (
    *(f"{name}_step" for name in ("training", "validation", "test", "predict")),
    *(f"{name}_dataloader" for name in ("train", "val", "test", "predict")),
    "configure_optimizers",
)
"""Noted only where the program has them, because an override of them changes what the Trainer does."""
DATA_HOOKS = ("prepare_data", "setup", "teardown", "on_exception", "state_dict", "load_state_dict")

PROGRAMS: dict[str, Callable[[Seen], None]] = {}
DISTRIBUTED: dict[str, Callable[[Seen], None]] = {}
"""Programs of two processes."""
CUDA: dict[str, Callable[[Seen], None]] = {}
"""Programs that need a CUDA device."""
DIFFERENT: dict[str, str] = {}
"""Programs that Leyden runs otherwise than Lightning on purpose, with the reason."""


def program(function: Callable[[Seen], None]) -> Callable[[Seen], None]:
    """Take a function into the corpus. It builds, trains and returns; what it did is read from what it was given."""
    assert function.__name__ not in PROGRAMS, function.__name__
    PROGRAMS[function.__name__] = function
    return function


def distributed(function: Callable[[Seen], None]) -> Callable[[Seen], None]:
    """:func:`program`, where two processes run it, each with a record of its own."""
    DISTRIBUTED[function.__name__] = function
    return function


def on_gpu(function: Callable[[Seen], None]) -> Callable[[Seen], None]:
    """:func:`program`, where there is a CUDA device."""
    CUDA[function.__name__] = function
    return function


def different(reason: str) -> Callable[[Callable[[Seen], None]], Callable[[Seen], None]]:
    """:func:`program`, where Leyden is meant to differ."""

    def take(function: Callable[[Seen], None]) -> Callable[[Seen], None]:
        DIFFERENT[function.__name__] = reason
        return program(function)

    return take


@dataclass
class Seen:
    """What one program did."""

    folder: Path
    calls: list[str] = field(default_factory=list)
    logged: list[tuple[int | None, dict[str, float]]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    """Anything else the program wants compared."""
    trainers: list[Any] = field(default_factory=list)
    modules: list[Any] = field(default_factory=list)

    def watched(self, owner: Any, name: str = "") -> Any:
        """``owner``, a module, data module or callback, with its hooks noted from now on."""
        hooks = _hooks_of(owner)
        prefix = f"{name}." if name else ""
        kind = type(owner)
        methods = {hook: self._noting(getattr(kind, hook), prefix + hook) for hook in hooks if hasattr(kind, hook)}
        owner.__class__ = type(kind.__name__, (kind,), methods)
        if isinstance(owner, torch.nn.Module):
            self.modules.append(owner)
        return owner

    def _noting(self, original: Callable[..., Any], label: str) -> Callable[..., Any]:
        def method(owner: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls.append(" ".join([label, *filter(None, map(_shown, (*args, *kwargs.values())))]))
            return original(owner, *args, **kwargs)

        # Not functools.wraps, by which Lightning would see that the program does not override the hook itself.
        method.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]  # read by inspect
        return method

    def trainer(self, **options: Any) -> Any:
        """A quiet Trainer that logs to this record, with a callback whose hooks are noted."""
        callbacks = options.pop("callbacks", [])
        quiet = {
            "accelerator": ACCELERATOR,
            "devices": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": any(isinstance(callback, pl.callbacks.ModelCheckpoint) for callback in callbacks),
            "logger": capture(self.logged),
            "log_every_n_steps": 1,
            "max_epochs": 2,
            "default_root_dir": self.folder,
        }
        made = pl.Trainer(**{**quiet, **options, "callbacks": [self.watched(pl.Callback(), "callback"), *callbacks]})
        self.trainers.append(made)
        return made

    def result(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "calls": self.calls,
            "logged": [[step, metrics] for step, metrics in self.logged],
            "values": _plain(self.values),
            "trainers": [_of_trainer(trainer) for trainer in self.trainers],
            "weights": [_plain(dict(module.state_dict())) for module in self.modules],
        }


def _hooks_of(owner: Any) -> tuple[str, ...]:
    for base, always in ((pl.LightningModule, MODULE_HOOKS), (pl.LightningDataModule, DATA_HOOKS)):
        if isinstance(owner, base):
            known = (name for name in WHERE_OVERRIDDEN if hasattr(base, name))
            return (*always, *(name for name in known if getattr(type(owner), name) is not getattr(base, name)))
    return CALLBACK_HOOKS


def _shown(value: Any) -> str:
    """What of an argument is worth comparing: counters and names."""
    if isinstance(value, str):
        return str.__str__(getattr(value, "value", value))
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, BaseException):
        return "exception"
    return ""


def capture(logged: list[tuple[int | None, dict[str, float]]]) -> Any:
    """A logger that keeps what it is given."""

    class Capture(pl.loggers.Logger):
        @property
        def name(self) -> str:
            return "capture"

        @property
        def version(self) -> int:
            return 0

        @rank_zero_only
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            logged.append((step, {name: float(value) for name, value in metrics.items()}))

        @rank_zero_only
        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            logged.append((None, {f"hparams/{name}": 0.0 for name in dict(params)}))

    return Capture()


def _of_trainer(trainer: Any) -> dict[str, Any]:
    return {
        "callback_metrics": _plain(dict(trainer.callback_metrics)),
        "current_epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "should_stop": trainer.should_stop,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.name
    return value
