"""Optimizers and schedulers: what ``configure_optimizers`` may return, clipping, and manual stepping."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from leyden.errors import MisconfigurationError, at_least, bad_value, one_of
from leyden.rank_zero import is_rank_zero

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.strategies import Strategy
    from leyden.trainer import Trainer

CONFIG_KEYS = ("optimizer", "lr_scheduler", "monitor")
INTERVALS = ("epoch", "step")
CLIP_ALGORITHMS = ("norm", "value")


@dataclass
class LRSchedulerConfig:
    """A scheduler and when it steps: every ``frequency`` epochs or steps; on a metric where it monitors one."""

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None
    strict: bool = True
    name: str | None = None
    reduce_on_plateau: bool = False


SCHEDULER_KEYS = tuple(field.name for field in fields(LRSchedulerConfig))


def configure(module: LightningModule) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    """Call ``configure_optimizers`` and understand every shape of answer."""
    answer = module.configure_optimizers()
    optimizers, schedulers, monitor = _unpack(answer)
    configs = [_scheduler_config(entry, monitor, module.automatic_optimization) for entry in schedulers]
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            raise bad_value("configure_optimizers() optimizer", optimizer, "a torch.optim.Optimizer")
    for config in configs:
        if getattr(config.scheduler, "optimizer", None) not in (None, *optimizers):
            raise MisconfigurationError("configure_optimizers() returned a scheduler without its optimizer")
    if not optimizers:
        optimizers = [NoOptimizer()]
    if len(optimizers) > 1 and module.automatic_optimization:
        raise MisconfigurationError(
            f"configure_optimizers() returned {len(optimizers)} optimizers, which needs "
            "self.automatic_optimization = False and steps taken in training_step"
        )
    return optimizers, configs


def _unpack(answer: Any) -> tuple[list[Optimizer], list[Any], str | None]:
    if answer is None:
        return [], [], None
    if isinstance(answer, Optimizer):
        return [answer], [], None
    if isinstance(answer, Mapping):
        return _unpack_dicts([answer])
    if isinstance(answer, (list, tuple)):
        entries = list(answer)
        if len(entries) == 2 and all(isinstance(entry, (list, tuple)) for entry in entries):
            return list(entries[0]), list(entries[1]), None
        if len(entries) == 2 and isinstance(entries[0], (list, tuple)):
            return list(entries[0]), [entries[1]], None
        if entries and all(isinstance(entry, Mapping) for entry in entries):
            return _unpack_dicts(entries)
        if all(isinstance(entry, Optimizer) for entry in entries):
            return entries, [], None
    raise bad_value(
        "configure_optimizers() result",
        answer,
        "an optimizer, a list of them, ([optimizers], [schedulers]), a dict with 'optimizer' and optionally "
        "'lr_scheduler', a list of such dicts, or None",
    )


def _unpack_dicts(entries: list[Any]) -> tuple[list[Optimizer], list[Any], str | None]:
    for entry in entries:
        if "optimizer" not in entry:
            raise bad_value(
                "configure_optimizers() keys", sorted(entry), "'optimizer', and optionally 'lr_scheduler' and 'monitor'"
            )
        _known(entry, CONFIG_KEYS)
    schedulers = [entry["lr_scheduler"] for entry in entries if entry.get("lr_scheduler") is not None]
    monitor = next((entry["monitor"] for entry in entries if entry.get("monitor")), None)
    return [entry["optimizer"] for entry in entries], schedulers, monitor


def _known(entry: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Without what nobody reads. It may be meant for another place, as an ``interval`` beside ``lr_scheduler``."""
    unknown = [key for key in entry if key not in keys]
    if unknown and is_rank_zero():
        said = f"configure_optimizers() gave {', '.join(unknown)}, which is not used: what is known here are "
        warnings.warn(said + ", ".join(keys), stacklevel=2)
    return {key: entry[key] for key in keys if key in entry}


def _scheduler_config(entry: Any, monitor: str | None, automatic: bool) -> LRSchedulerConfig:
    if isinstance(entry, Mapping):
        if "scheduler" not in entry:
            raise bad_value("lr_scheduler keys", sorted(entry), f"any of {', '.join(SCHEDULER_KEYS)}, the first always")
        config = LRSchedulerConfig(**{"monitor": monitor, **_known(entry, SCHEDULER_KEYS)})
    else:
        config = LRSchedulerConfig(entry, monitor=monitor)
    if not all(callable(getattr(config.scheduler, name, None)) for name in ("step", "state_dict")):
        raise bad_value("configure_optimizers() scheduler", config.scheduler, "one with step() and state_dict()")
    if config.interval not in INTERVALS:
        raise one_of("lr_scheduler interval", config.interval, INTERVALS)
    config.frequency = at_least("lr_scheduler frequency", config.frequency, 1)
    config.reduce_on_plateau = config.reduce_on_plateau or isinstance(config.scheduler, ReduceLROnPlateau)
    if automatic and config.reduce_on_plateau and not config.monitor:
        raise MisconfigurationError(
            "configure_optimizers() returned a ReduceLROnPlateau without a metric: add "
            "'monitor': '<name of a logged metric>' beside 'lr_scheduler'"
        )
    return config


def step_schedulers(trainer: Trainer, interval: str, done: int, plateau: bool) -> None:
    """Step the schedulers of an interval that are due after ``done`` epochs, or batches of an epoch."""
    for config in trainer.lr_scheduler_configs:
        if config.interval != interval or config.reduce_on_plateau != plateau or done % config.frequency:
            continue
        metric = _monitored(trainer, config) if plateau else None
        if metric is not None or not plateau:
            trainer.lightning_module.lr_scheduler_step(config.scheduler, metric)


def _monitored(trainer: Trainer, config: LRSchedulerConfig) -> Any:
    metrics = trainer.callback_metrics
    if config.monitor in metrics:
        return metrics[config.monitor]
    if config.strict:
        known = ", ".join(sorted(metrics)) or "none"
        raise MisconfigurationError(f"ReduceLROnPlateau monitors {config.monitor!r}, but the metrics are: {known}")
    return None


def explain_backward(loss: Tensor, error: RuntimeError) -> None:
    """Raise ``MisconfigurationError`` in place of torch's error where it is the loss that no gradient can come from."""
    if "does not require grad" in str(error):
        raise MisconfigurationError(
            "no gradient can come from the loss, because it depends on no parameter that requires one: are all of them "
            "frozen, or was it computed under no_grad() or after detach()?"
        ) from error
    if "only for scalar outputs" in str(error):
        given = f"a tensor of shape {tuple(loss.shape)}"
        raise MisconfigurationError(f"the loss is {given}, and must be of one element: take its mean or sum") from error


def clip(optimizer: Any, value: float | None, algorithm: str) -> None:
    """Clip the gradients of an optimizer's parameters in place; ``None`` and 0 leave them."""
    if not value:
        return
    if algorithm not in CLIP_ALGORITHMS:
        raise one_of("gradient_clip_algorithm", algorithm, CLIP_ALGORITHMS)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if algorithm == "value":
        torch.nn.utils.clip_grad_value_(parameters, value)
    else:
        torch.nn.utils.clip_grad_norm_(parameters, value)


class LightningOptimizer:
    """An optimizer as hooks and steps of a module see it: its ``step`` counts as a step of the run and calls hooks.

    It passes for the wrapped one: attributes, and ``isinstance``.
    """

    def __init__(self, optimizer: Optimizer, trainer: Trainer):
        self._optimizer = optimizer
        self._trainer = trainer
        self._module = trainer.lightning_module
        self._scaler = trainer.precision_plugin.scaler

    @property  # type: ignore[misc]  # what isinstance() asks besides type(), and object declares it as writable
    def __class__(self) -> type:
        return type(self._optimizer)

    @property
    def optimizer(self) -> Optimizer:
        """The wrapped optimizer."""
        return self._optimizer

    def __repr__(self) -> str:
        return f"Lightning{self._optimizer!r}"

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """``toggled_optimizer`` for the body; ``sync_grad=False``: gradients stay with this rank, to be accumulated."""
        sync = nullcontext() if sync_grad else self._trainer.strategy.no_sync()
        with sync, self._module.toggled_optimizer(self):
            yield

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """One step of the wrapped optimizer. ``on_before_optimizer_step`` and clipping come after the closure."""
        trainer, optimizer, scaler = self._trainer, self._optimizer, self._scaler
        if scaler is not None:
            result = closure() if closure is not None else None
            scaler.unscale_(optimizer)
            trainer.before_optimizer_step(optimizer)
            scaler.step(optimizer, **kwargs)
            scaler.update()
        elif closure is None:
            trainer.before_optimizer_step(optimizer)
            result = optimizer.step(**kwargs)
        else:

            def whole() -> Any:
                loss = closure()
                trainer.before_optimizer_step(optimizer)
                return loss

            result = optimizer.step(whole, **kwargs)
        if not self._module.automatic_optimization:  # else the loop counts calls of optimizer_step()
            trainer.run_state.global_step += 1
        return result

    def __reduce__(self) -> Any:
        return object.__new__, (LightningOptimizer,), vars(self)  # copies go by __class__ otherwise

    def __getattr__(self, name: str) -> Any:
        if name == "_optimizer":  # a copy in the making has none yet
            raise AttributeError(name)
        return getattr(self._optimizer, name)


class NoOptimizer(Optimizer):
    """Steps nothing, for modules whose ``configure_optimizers`` gives none; their hooks run as always."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


def state_dicts(optimizers: list[Optimizer], schedulers: list[LRSchedulerConfig]) -> dict[str, Any]:
    """Their part of a checkpoint, under Lightning's keys."""
    return {
        "optimizer_states": [optimizer.state_dict() for optimizer in optimizers],
        "lr_schedulers": [config.scheduler.state_dict() for config in schedulers],
    }


def load_state_dicts(
    strategy: Strategy,
    checkpoint: Mapping[str, Any],
    optimizers: list[Optimizer],
    schedulers: list[LRSchedulerConfig],
) -> None:
    """Take back :func:`state_dicts`."""
    for key, owners in (("optimizer_states", optimizers), ("lr_schedulers", schedulers)):
        count = len(checkpoint.get(key, []))
        if count != len(owners):
            raise MisconfigurationError(
                f"the checkpoint has {count} {key} and configure_optimizers() gives {len(owners)}: "
                "resume with the code that wrote it, or load only its weights with load_from_checkpoint()"
            )
    for optimizer, state in zip(optimizers, checkpoint.get("optimizer_states", []), strict=True):
        strategy.load_optimizer_state(optimizer, state)
    for config, state in zip(schedulers, checkpoint.get("lr_schedulers", []), strict=True):
        config.scheduler.load_state_dict(state)
