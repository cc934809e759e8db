"""``fit`` between setup and teardown, in Lightning's order."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from leyden import optim, rng
from leyden.checkpoint import capture, io, signature
from leyden.checkpoint.places import Place
from leyden.errors import MisconfigurationError
from leyden.evaluation import VALIDATION, EvaluationLoop
from leyden.hooks import HookTable, overrides
from leyden.reductions import Metrics
from leyden.reporting import begin_logging
from leyden.settings import check_interval, forbid_with_manual_optimization
from leyden.states import RunningStage, RunStatus, TrainerFn, TrainerStatus
from leyden.training import TrainingLoop

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


def fit(trainer: Trainer, val_loaders: Any, path: Place | None) -> None:
    """Train the trainer's module; everything is connected and set up."""
    hooks = trainer.hooks
    trainer.open_rank_directory()
    checkpoint = _resume_from(trainer, path)
    if checkpoint is not None:
        capture.restore_model(trainer, checkpoint)
    if trainer.train_loader is None:
        raise MisconfigurationError("fit() has nothing to train on: give train_dataloaders or a train_dataloader()")
    validation = trainer.validate_loop = EvaluationLoop(trainer, VALIDATION, trainer.loader_of(val_loaders, "val"))
    trainer.optimizers, trainer.lr_scheduler_configs = optim.configure(trainer.lightning_module)
    hooks.on_fit_start()
    hooks.bind()
    begin_logging(trainer)
    trainer.trained_at_first = capture.trains(trainer.lightning_module)
    trainer.resumed = {}
    if checkpoint is not None:
        capture.restore_progress(trainer, checkpoint)
        if path is None and (keeper := trainer.checkpoint_directory) is not None:
            keeper.resumed(trainer)
    else:
        _sanity_check(trainer, validation)
    loop = trainer.training_loop = TrainingLoop(trainer, validation)
    if loop.validates:
        check_interval(trainer.settings, trainer.num_training_batches)
    _warn_of_length(trainer)
    watching = _watch_forward(trainer)
    try:
        with trainer.stop_signal, torch.autograd.set_detect_anomaly(trainer.settings.detect_anomaly):
            loop.run()
    finally:
        watching.remove()
    if trainer.agreement is not None:
        trainer.agreement.close()
    if trainer.rank_directory is not None:
        trainer.rank_directory.progress(trainer, now=True)


def _warn_of_length(trainer: Trainer) -> None:
    batches, every = trainer.num_training_batches, trainer.log_every_n_steps
    if trainer.limit_train_batches and not batches:
        trainer.warn("there is nothing to train on: the loader gives no batch")
    elif trainer.loggers and batches < every:
        trainer.warn(f"log_every_n_steps={every} is more than an epoch's {batches} batches: loggers will get little")


def train_within(trainer: Trainer, probe: Trainer) -> None:
    """Let another Trainer train the module of a ``fit`` that has begun, on the same data, without validation."""
    module = probe.model = trainer.lightning_module
    module.trainer, probe.datamodule = probe, trainer.datamodule
    probe.state = RunStatus(TrainerStatus.RUNNING, TrainerFn.FITTING)
    probe.hooks = HookTable(probe, module)
    probe.transfer, probe.train_loader = trainer.transfer, trainer.train_loader
    probe.optimizers, probe.lr_scheduler_configs = optim.configure(module)
    probe.training_loop = TrainingLoop(probe, EvaluationLoop(probe, VALIDATION, None))
    probe.training_loop.run()


def check_steps(trainer: Trainer) -> None:
    """Whether the module can be trained as the arguments say."""
    module = trainer.lightning_module
    for name in ("training_step", "configure_optimizers"):
        if not overrides(module, name):
            raise MisconfigurationError(f"{type(module).__qualname__} has no {name}(), which fit() needs")
    check_takes_a_batch(module, "training_step")
    if not module.automatic_optimization:
        forbid_with_manual_optimization(trainer.settings)


def check_takes_a_batch(module: LightningModule, name: str) -> None:
    """Refuse a step without parameters, or one that wants the loader's iterator."""
    parameters = inspect.signature(getattr(module, name)).parameters
    if "dataloader_iter" in parameters:
        raise MisconfigurationError(f"{type(module).__qualname__}.{name}() gets batches, and no dataloader_iter")
    if not parameters:
        raise MisconfigurationError(f"{type(module).__qualname__}.{name}() takes no batch: write {name}(self, batch)")


def _resume_from(trainer: Trainer, path: Place | None) -> dict[str, Any] | None:
    """The checkpoint to go on from: the one asked for, else the one that the plan finds."""
    keeper = trainer.checkpoint_directory
    if keeper is not None:
        found = keeper.find(trainer)
        path = path if path is not None else found
        if found is not None and trainer.is_global_zero:
            trainer.report_checkpoints(keeper.checkpoints())
    if path is None:
        return None
    trainer.ckpt_path = str(path)
    checkpoint = io.read(trainer, path)
    trainer.print(f"resuming from {path} at step {checkpoint.get('global_step', 0)}", flush=True)
    return checkpoint


def _sanity_check(trainer: Trainer, validation: EvaluationLoop) -> None:
    """A few validation batches, so that a mistake shows now and not after an epoch. Leaves no trace."""
    steps = trainer.settings.num_sanity_val_steps
    if not steps or not validation.enabled:
        return
    with rng.isolated(trainer.strategy.device):
        trainer.state.stage = RunningStage.SANITY_CHECKING
        trainer.hooks.on_sanity_check_start()
        validation.run(most=steps if steps > 0 else math.inf)
        trainer.hooks.on_sanity_check_end()
        trainer.metrics = Metrics({}, {}, {})
        trainer.state.stage = RunningStage.TRAINING


def _watch_forward(trainer: Trainer) -> Any:
    """Keep the first inputs of ``forward``, two samples at most, for the checkpoint's signature.

    A module whose steps never call ``self(...)`` is asked with its first batch instead.
    """
    module = trainer.lightning_module

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        trainer.forward_inputs.insert(0, (signature.few_samples(args), signature.few_samples(kwargs)))
        handle.remove()

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    return handle
