"""The frame around every run: connect, set up, run, tear down; and where an evaluation starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leyden import fitting, requeue
from leyden.callbacks import Callback, ModelCheckpoint
from leyden.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from leyden.checkpoint import capture, io
from leyden.checkpoint.places import Place, modified, place
from leyden.construction import in_order
from leyden.data import LightningDataModule
from leyden.errors import MisconfigurationError, bad_value
from leyden.evaluation import PREDICT, EvaluationLoop, Stage
from leyden.hooks import HookTable, overrides
from leyden.loggers.base import tell
from leyden.module import LightningModule
from leyden.precision import Precision
from leyden.reporting import begin_logging
from leyden.states import RunningStage, RunStatus, TrainerFn, TrainerStatus

if TYPE_CHECKING:
    from leyden.trainer import Trainer

COMPILED = ("forward", "training_step", "validation_step", "test_step", "predict_step")
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


@contextmanager
def running(
    trainer: Trainer, module: Any, datamodule: Any, fn: TrainerFn, check: Callable[[Trainer], None]
) -> Iterator[None]:
    """One run of a method; an exception passes through ``on_exception`` first. ``check`` refuses what cannot run."""
    module = unwrapped(module)
    if not isinstance(module, LightningModule):
        raise bad_value("model", type(module).__qualname__, "a LightningModule")
    if datamodule is not None and not isinstance(datamodule, LightningDataModule):
        raise bad_value("datamodule", type(datamodule).__qualname__, "a LightningDataModule")
    trainer.model, trainer.datamodule = module, datamodule
    stage = RunningStage.TRAINING if fn is TrainerFn.FITTING else RunningStage(fn)
    state = trainer.state = RunStatus(TrainerStatus.RUNNING, fn, stage)
    trainer.hooks = HookTable(trainer, module)
    module.trainer = trainer
    if datamodule is not None:
        datamodule.trainer = trainer
    trainer.strategy.connect()
    try:
        _attach_module_callbacks(trainer, module)
        trainer.hooks.bind()
        check(trainer)
        trainer.profiler.setup(fn, trainer.local_rank, trainer.log_dir)
        _set_up(trainer, module, datamodule, fn)
        trainer.hooks.bind()
        yield
        trainer.strategy.release(module, trainer.optimizers)
        _tear_down(trainer, module, datamodule, fn)
        state.status = TrainerStatus.FINISHED
        trainer.profiler.describe()
        trainer.profiler.teardown(fn)
        tell(trainer.loggers, lambda logger: logger.finalize("success"))
    except BaseException as error:
        state.status = TrainerStatus.INTERRUPTED
        try:
            trainer.hooks.on_exception(error)
            if datamodule is not None:
                datamodule.on_exception(error)
            tell(trainer.loggers, lambda logger: logger.finalize("failed"))
        finally:
            _release_after(error, trainer, module)
        raise
    finally:
        state.stage = None
        trainer.scope.leave_batch()
        trainer.strategy.checkpoint_io.teardown()


def unwrapped(model: Any) -> Any:
    """The LightningModule inside a compiled one, with its steps compiled in the same way; anything else as it is."""
    inner, compiled = getattr(model, "_orig_mod", None), getattr(model, "dynamo_ctx", None)
    if not isinstance(inner, LightningModule) or compiled is None:
        return model
    for name in COMPILED:
        if name not in vars(inner) and (name == "forward" or overrides(inner, name)):
            setattr(inner, name, compiled(getattr(inner, name)))
    # What is logged concerns the run and is no part of the graph; traced, it would be compiled anew for each number.
    inner.log = torch.compiler.disable(inner.log)  # type: ignore[method-assign,no-untyped-call]  # of this module alone
    return inner


def _set_up(trainer: Trainer, module: LightningModule, data: LightningDataModule | None, fn: TrainerFn) -> None:
    for owner in (data, module):
        if owner is None:
            continue
        if (trainer.local_rank if owner.prepare_data_per_node else trainer.global_rank) == 0:
            owner.prepare_data()
    trainer.strategy.barrier()
    if data is not None:
        data.setup(stage=fn)
    for callback in trainer.callbacks:
        callback.setup(trainer, module, stage=fn)
    module.setup(stage=fn)
    with trainer.init_module():
        module.configure_model()
    trainer.precision_plugin.convert_module(module)
    trainer.strategy.place(module)
    trainer.transfer = _transfer(module, data, trainer.strategy.device, trainer.precision_plugin)


def _attach_module_callbacks(trainer: Trainer, module: LightningModule) -> None:
    """Those of the module take the place of the Trainer's of the same class or of a base of it."""
    given = module.configure_callbacks() or []
    own = list(given) if isinstance(given, (list, tuple)) else [given]
    bases = {base for callback in own for base in type(callback).__mro__} - {Callback}
    trainer.callbacks = in_order([c for c in trainer.callbacks if type(c) not in bases] + own)


def _transfer(
    module: LightningModule, data: LightningDataModule | None, device: torch.device, precision: Precision
) -> Callable[[Any, int], Any]:
    """How a batch gets to the device: each hook is the data module's where it overrides it, else the module's."""
    owners = {name: data if data is not None and overrides(data, name) else module for name in TRANSFER_HOOKS}
    if (
        device.type == "cpu"
        and not precision.converts
        and not any(overrides(owner, name) for name, owner in owners.items())
    ):
        return lambda batch, dataloader_idx: batch
    before, move, after = (getattr(owner, name) for name, owner in owners.items())

    def transfer(batch: Any, dataloader_idx: int) -> Any:
        if precision.converts:
            batch = precision.convert_batch(batch)
        batch = before(batch, dataloader_idx)
        batch = move(batch, device, dataloader_idx)
        return after(batch, dataloader_idx)

    return transfer


def _release_after(error: BaseException, trainer: Trainer, module: LightningModule) -> None:
    """Let go of the device, which after some errors answers nothing but the same error again."""
    try:
        trainer.strategy.release(module, trainer.optimizers)
    except RuntimeError as also:
        error.add_note(f"the module stays on {trainer.strategy.device}: {also}")


def _tear_down(trainer: Trainer, module: LightningModule, data: LightningDataModule | None, fn: TrainerFn) -> None:
    if fn is TrainerFn.FITTING:
        trainer.hooks.on_fit_end()
    if data is not None:
        data.teardown(stage=fn)
    for callback in trainer.callbacks:
        callback.teardown(trainer, module, stage=fn)
    module.teardown(stage=fn)


def sources(datamodule: Any, name: str, loaders: Any, val_dataloaders: Any = None) -> tuple[Any, Any]:
    """The loaders of the argument ``name`` and the data module, which may stand in their place: ``fit(module, data)``.

    Raises ``MisconfigurationError`` where there are two answers to where batches come from.
    """
    if datamodule is None and isinstance(loaders, LightningDataModule):
        loaders, datamodule = None, loaders
    given = name if loaders is not None else "val_dataloaders"
    if datamodule is not None and (loaders is not None or val_dataloaders is not None):
        raise MisconfigurationError(f"datamodule and {given} exclude each other: give one of them")
    return loaders, datamodule


@contextmanager
def evaluation(
    trainer: Trainer, stage: Stage, model: Any, loaders: Any, ckpt_path: str | Path | None, datamodule: Any
) -> Iterator[EvaluationLoop]:
    """The loop of ``validate``, ``test`` or ``predict``, by default on the module and data of the last run."""
    loaders, datamodule = sources(datamodule, "dataloaders", loaders)
    path = _best(trainer) if model is None and ckpt_path is None else checkpoint_path(trainer, ckpt_path)
    module = model if model is not None else trainer.model
    data = datamodule if datamodule is not None else (trainer.datamodule if loaders is None else None)
    fn = TrainerFn(stage.running)
    trainer.reset_run(keeps_optimizers=unwrapped(module) is trainer.model)

    def check(trainer: Trainer) -> None:
        if stage is not PREDICT and not overrides(trainer.lightning_module, stage.step):
            raise MisconfigurationError(f"{type(module).__qualname__} has no {stage.step}()")
        fitting.check_takes_a_batch(trainer.lightning_module, stage.step)

    with running(trainer, module, data, fn, check):
        if path is not None:
            trainer.ckpt_path = str(path)
            capture.restore_model(trainer, io.read(trainer, path))
        trainer.strategy.share_weights(trainer.lightning_module)
        begin_logging(trainer)
        loop = EvaluationLoop(trainer, stage, trainer.loader_of(loaders, stage.short))
        setattr(trainer, f"{fn}_loop", loop)
        if loop.loader is None:
            raise MisconfigurationError(f"there is nothing to run: give dataloaders or a {stage.short}_dataloader()")
        yield loop


def fit_path(trainer: Trainer, given: str | Path | None) -> Place | None:
    """:func:`checkpoint_path`; by default what SLURM's warning or an exception left, where no directory has a plan."""
    if given is None and trainer.checkpoint_directory is None:
        if trainer.slurm is not None and (found := requeue.newest(trainer.settings.default_root_dir)) is not None:
            return found
        if any(isinstance(saver, OnExceptionCheckpoint) and saver.path.exists() for saver in trainer.callbacks):
            given = "last"
    return checkpoint_path(trainer, given)


def checkpoint_path(trainer: Trainer, given: str | Path | None) -> Place | None:
    """``"best"`` and ``"last"`` as the callbacks know them, ``"hpc"`` as SLURM's warning left it; else a path."""
    if given == "last":
        found = _newest(trainer)
        if found is None:  # so that a program may say it before its first run
            trainer.warn('ckpt_path="last": there is no last checkpoint yet, so none is loaded')
        return found
    root = trainer.settings.default_root_dir
    if given == "hpc":
        found, missing = requeue.newest(root), f"there is no hpc_ckpt_*.ckpt in {root}"
    elif given == "best":
        found, missing = _best(trainer), "no ModelCheckpoint has saved such a file"
    else:
        return place(given) if given is not None else None
    if found is None:
        raise bad_value("ckpt_path", given, f"a path here: {missing}")
    return found


def _best(trainer: Trainer) -> Place | None:
    """The best file of the first callback that saves."""
    path = getattr(trainer.checkpoint_callback, "best_model_path", "")
    return place(path) if path else None


def _newest(trainer: Trainer) -> Place | None:
    """The newest of what the callbacks that save have left, in this run or in earlier ones."""
    found: list[Place] = []
    for callback in trainer.callbacks:
        if isinstance(callback, OnExceptionCheckpoint) and callback.path.exists():
            found.append(callback.path)
        elif isinstance(callback, ModelCheckpoint):
            folder = callback.directory(trainer)
            name, ending = callback.CHECKPOINT_NAME_LAST.split("{")[0], callback.FILE_EXTENSION
            entries = folder.iterdir() if folder.is_dir() else ()
            found += [entry for entry in entries if entry.name.startswith(name) and entry.name.endswith(ending)]
    return max(found, key=modified, default=None)
