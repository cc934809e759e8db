"""A run as a checkpoint's contents, and back. Keys are Lightning's; what is Leyden's own sits under ``leyden``."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from leyden import metric_states, optim, rng
from leyden.checkpoint import arguments, gradients, progress
from leyden.checkpoint.plain import why_not_read
from leyden.errors import MisconfigurationError
from leyden.logs import merge_states

if TYPE_CHECKING:
    from leyden.trainer import Trainer

LIGHTNING_VERSION = "2.6.6"
"""The release whose checkpoint keys are used."""


def capture(trainer: Trainer, weights_only: bool = False, whole: bool = True) -> dict[str, Any]:
    """The contents of a checkpoint. A collective call: every rank adds its generators and running sums.

    ``whole``: tensors of which this rank holds a shard are gathered on rank 0.
    """
    gathered: Callable[[Any], Any] = trainer.strategy.whole if whole else lambda state: state
    module, state = trainer.lightning_module, trainer.run_state
    loaders = trainer.training_loop.source.states if trainer.training_loop is not None else []
    checkpoint: dict[str, Any] = {
        "epoch": trainer.current_epoch,
        "global_step": state.global_step,
        "pytorch-lightning_version": LIGHTNING_VERSION,
        "state_dict": gathered(module.state_dict()),
        "loops": progress.to_loops(state, trainer.epoch_closed, module.automatic_optimization, loaders),
        "leyden": {
            "run": state.state_dict(),
            **arguments.of_module(module),
            "world_size": trainer.world_size,
        },
    }
    if module.hparams:
        checkpoint[module.CHECKPOINT_HYPER_PARAMS_NAME] = module.hparams_name
        checkpoint[module.CHECKPOINT_HYPER_PARAMS_KEY] = arguments.storable(dict(module.hparams))
    if not weights_only:
        states = ((callback.state_key, callback.state_dict()) for callback in trainer.callbacks)
        checkpoint["callbacks"] = {key: state for key, state in states if state}
        if (scaler := trainer.precision_plugin.scaler) is not None:
            checkpoint["MixedPrecision"] = scaler.state_dict()
        checkpoint.update(gathered(optim.state_dicts(trainer.optimizers, trainer.lr_scheduler_configs)))
        if waiting := gradients.waiting(trainer):
            checkpoint["leyden"]["gradients"] = gathered(waiting)
    data = trainer.datamodule
    if data is not None:
        checkpoint[data.CHECKPOINT_HYPER_PARAMS_NAME] = data.hparams_name
        checkpoint[data.CHECKPOINT_HYPER_PARAMS_KEY] = arguments.storable(dict(data.hparams))
        if kept := data.state_dict():  # one without a state is not asked to load it
            checkpoint[type(data).__qualname__] = kept
    for callback in () if weights_only else trainer.callbacks:
        callback.on_save_checkpoint(trainer, module, checkpoint)
    module.on_save_checkpoint(checkpoint)
    if not weights_only:  # behind the hooks, which may draw random numbers
        checkpoint["leyden"].update(_position(trainer, loaders))
    if trainer.is_global_zero and not trainer.looked_into_checkpoint:
        trainer.looked_into_checkpoint = True
        _warn_of_what_is_not_read(trainer, checkpoint)
    return checkpoint


def _warn_of_what_is_not_read(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """What programs give may be of classes that are refused when it is read: better said now than then."""
    try:
        names = why_not_read(_without_weights(checkpoint), type(trainer.lightning_module))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise MisconfigurationError(f"what on_save_checkpoint or a state_dict gave cannot be saved: {error}") from error
    if names:
        trainer.warn(
            f"the checkpoint holds {names} beside weights and plain values: reading it is refused unless "
            "torch.serialization.add_safe_globals([...]) names them"
        )


def _without_weights(value: Any) -> Any:
    """The same without what readers always take, or what was looked into already: tensors and modules."""
    if isinstance(value, (Tensor, nn.Module)):
        return None
    if type(value) in (dict, OrderedDict):
        return {key: _without_weights(item) for key, item in value.items()}
    return type(value)(map(_without_weights, value)) if type(value) in (list, tuple) else value


def _position(trainer: Trainer, loaders: list[Any]) -> dict[str, Any]:
    """Where the data stands, and what each rank holds alone."""
    loop, metrics = trainer.training_loop, metric_states.metrics_of(trainer.lightning_module)
    done = trainer.run_state.batch_idx - (loop.resumed_at if loop is not None else 0)
    mine = {
        "sampler": loop.source.state_dict(done) if loop is not None else {},
        "loaders": loaders,
        "rng": trainer.generators or rng.snapshot(trainer.strategy.device),
        "logs": loop.logs.state_dict(metrics) if loop is not None and not trainer.run_state.epoch_done else {},
        "metrics": metric_states.state_dict(metrics),
    }
    accumulates, validation = trainer.accumulate_grad_batches, trainer.validate_loop
    module, first = trainer.lightning_module, trainer.trained_at_first
    return {
        "ranks": trainer.strategy.gather_objects(mine),
        "loaded_epoch": loop.loaded_epoch if loop is not None else trainer.current_epoch,
        "should_stop": trainer.should_stop,
        "last_is_done": loop is not None and loop.last_is_done,
        "validation_batches": dict(validation.batches_seen) if validation is not None else {},
        # The next two where a hook has changed them, which ran at an epoch's start and will not run again.
        "accumulate_grad_batches": accumulates if accumulates != trainer.settings.accumulate_grad_batches else None,
        "requires_grad": {
            name: required for name, required in trains(module).items() if required != first.get(name, required)
        },
        "callback_metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }


def trains(module: nn.Module) -> dict[str, bool]:
    """Which parameters require gradients."""
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}


def restore_model(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Hooks, weights, and what the data module and the callbacks kept, before optimizers exist."""
    module = trainer.lightning_module
    module.on_load_checkpoint(checkpoint)
    trainer.strategy.load_model_state(module, checkpoint["state_dict"], module.strict_loading)
    data = trainer.datamodule
    if data is not None and type(data).__qualname__ in checkpoint:
        data.load_state_dict(checkpoint[type(data).__qualname__])
    for callback in trainer.callbacks if "callbacks" in checkpoint else ():  # else there are weights alone
        callback.on_load_checkpoint(trainer, module, checkpoint)
    states = dict(checkpoint.get("callbacks", {}))
    for callback in trainer.callbacks:
        if callback.state_key in states:
            callback.load_state_dict(states.pop(callback.state_key))
    if states and trainer.fitting:
        trainer.warn(f"the checkpoint holds states of callbacks that this Trainer has not: {', '.join(sorted(states))}")


def restore_progress(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Counters, optimizers, schedulers, and where the data stands."""
    optim.load_state_dicts(trainer.strategy, checkpoint, trainer.optimizers, trainer.lr_scheduler_configs)
    if (scaler := trainer.precision_plugin.scaler) is not None and "MixedPrecision" in checkpoint:
        scaler.load_state_dict(checkpoint["MixedPrecision"])
    kept = checkpoint.get("leyden", {})
    trainer.run_state.load_state_dict(kept.get("run") or progress.from_loops(checkpoint).state_dict())
    trainer.epoch_closed = trainer.run_state.epoch_done
    trainer.accumulate_grad_batches = kept.get("accumulate_grad_batches") or trainer.accumulate_grad_batches
    if trainer.validate_loop is not None:
        trainer.validate_loop.batches_seen = dict(kept.get("validation_batches", {}))
    required = kept.get("requires_grad", {})
    for name, parameter in trainer.lightning_module.named_parameters() if required else ():
        parameter.requires_grad = required.get(name, parameter.requires_grad)
    gradients.restore(trainer, kept.get("gradients", {}))
    metrics = kept.get("callback_metrics", {})
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
    ranks = kept.get("ranks", [])
    mine, states = _share(ranks, trainer)
    positions = ("loaded_epoch", "should_stop", "last_is_done")
    trainer.resumed = {name: kept[name] for name in positions if name in kept} | mine
    if not ranks:
        trainer.resumed["loaders"] = progress.loaders_of(checkpoint)
    trainer.resumed["gradients"] = "gradients" in kept
    known = metric_states.metrics_of(trainer.lightning_module)
    metric_states.load_state_dict(known, states, trainer.strategy.device, trainer.warn)


def _share(ranks: list[dict[str, Any]], trainer: Trainer) -> tuple[dict[str, Any], list[metric_states.States]]:
    """What this rank takes over: its own part at the same world size; else rank 0 takes the sums of all, and the metric
    objects. The others go on with such objects as well, for all ranks compute them together."""
    if len(ranks) == trainer.world_size:
        mine = ranks[trainer.global_rank]
        return mine, [mine.get("metrics", {})]
    logs = merge_states([rank["logs"] for rank in ranks])
    place = {"sampler": ranks[0]["sampler"]} if ranks else {}
    if trainer.is_global_zero:
        return {**place, "logs": logs}, [rank.get("metrics", {}) for rank in ranks]
    objects = {key: {**kept, "total": None, "weight": 0} for key, kept in logs.items() if kept.get("metric")}
    return {**place, "logs": objects}, []
