"""The Trainer: what a user configures and calls, and what hooks read."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from leyden import fitting
from leyden.callbacks import Callback, CheckpointDirectory, EarlyStopping, ModelCheckpoint, ProgressBar
from leyden.callbacks.checkpoint_directory import planned_by_environment
from leyden.data import LightningDataModule
from leyden.elastic import Agreement, RankDirectory
from leyden.errors import MisconfigurationError, bad_value
from leyden.evaluation import PREDICT, TEST, VALIDATION, EvaluationLoop, Stage
from leyden.hooks import HookTable, overrides
from leyden.loaders import Place, Source, prepare_all
from leyden.loggers import CSVLogger, Logger
from leyden.logs import Logs, Scope
from leyden.module import LightningModule
from leyden.optim import LRSchedulerConfig, ManualOptimizer
from leyden.precision import Precision
from leyden.run_state import RunState
from leyden.settings import Settings
from leyden.strategies import Strategy, choose_strategy
from leyden_contract import environment, exit_codes

if TYPE_CHECKING:
    from leyden.training import TrainingLoop
    from leyden_contract.wire import Checkpoints


class Trainer:
    """Drives a :class:`LightningModule`. Arguments, methods and properties are Lightning 2's."""

    def __init__(
        self,
        *,
        accelerator: str = "auto",
        strategy: str | Strategy = "auto",
        devices: int | str | Sequence[int] = "auto",
        num_nodes: int = 1,
        precision: int | str | None = None,
        logger: Logger | Sequence[Logger] | bool | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | None = None,
        check_val_every_n_epoch: int = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | None = None,
        detect_anomaly: bool = False,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        default_root_dir: str | Path | None = None,
    ) -> None:
        planned = planned_by_environment()
        self.settings = Settings.of(
            {
                "max_epochs": max_epochs,
                "min_epochs": min_epochs,
                "max_steps": max_steps,
                "min_steps": min_steps,
                "limit_train_batches": limit_train_batches,
                "limit_val_batches": limit_val_batches,
                "limit_test_batches": limit_test_batches,
                "limit_predict_batches": limit_predict_batches,
                "val_check_interval": val_check_interval,
                "check_val_every_n_epoch": check_val_every_n_epoch,
                "num_sanity_val_steps": num_sanity_val_steps,
                "log_every_n_steps": log_every_n_steps,
                "accumulate_grad_batches": accumulate_grad_batches,
                "gradient_clip_val": gradient_clip_val,
                "gradient_clip_algorithm": gradient_clip_algorithm,
                "inference_mode": inference_mode,
                "use_distributed_sampler": use_distributed_sampler,
                "detect_anomaly": detect_anomaly,
                "fast_dev_run": fast_dev_run,
                "overfit_batches": overfit_batches,
                # A job's pod has no other place that can be written and outlives it.
                "default_root_dir": default_root_dir or (planned.directory if planned is not None else None),
            }
        )
        self.strategy = choose_strategy(strategy, accelerator, devices, num_nodes)
        self.precision_plugin = Precision(precision, self.strategy.device)
        if deterministic:
            torch.use_deterministic_algorithms(True)
        fast = bool(self.settings.fast_dev_run)
        self.callbacks = _callbacks(callbacks, planned, enable_checkpointing, enable_progress_bar, fast)
        self.loggers = _loggers(logger, self.settings.default_root_dir, in_job=planned is not None, fast=fast)
        self.rank_directory: RankDirectory | None = None
        """What this process shares with its agent, from its first ``fit`` on."""
        self._reset()

    def _reset(self) -> None:
        self.run_state = RunState()
        self.scope = Scope()
        self.logs = Logs(self.scope, self.strategy)
        self.should_stop = False
        self.sanity_checking = False
        self.validating = False
        self.fitting = False
        self.is_last_batch = False
        self.stage: str | None = None
        self.datamodule: LightningDataModule | None = None
        self.optimizers: list[Optimizer] = []
        self.manual_optimizers: list[ManualOptimizer] = []
        self.lr_scheduler_configs: list[LRSchedulerConfig] = []
        self.num_training_batches: float = 0
        self.resumed: dict[str, Any] = {}
        self.given_train_loaders: Any = None
        self.training_source: Source | None = None
        self.forward_inputs: list[Any] = []
        self.training_loop: TrainingLoop | None = None
        self.agreement: Agreement | None = None
        self._module: LightningModule | None = None
        self._epoch_metrics: dict[str, Tensor] = {}
        self._logged_metrics: dict[str, float] = {}
        self._progress_names: set[str] = set()

    # What a user calls.

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
    ) -> None:
        """Train. ``ckpt_path`` resumes from a checkpoint: a directory, a ``.ckpt`` file, ``"last"`` or ``"best"``.

        Without ``ckpt_path``, a :class:`CheckpointDirectory` among the callbacks resumes by its own plan.
        """
        path = self._checkpoint_path(ckpt_path)
        self._reset()
        with self._running(model, datamodule, "fit"):
            fitting.fit(self, train_dataloaders, val_dataloaders, path)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
    ) -> list[dict[str, float]]:
        """One pass over the validation loaders. Returns the metrics, a dict per loader."""
        return self._evaluate(VALIDATION, model, dataloaders, ckpt_path, verbose, datamodule)

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
    ) -> list[dict[str, float]]:
        """One pass over the test loaders. Returns the metrics, a dict per loader."""
        return self._evaluate(TEST, model, dataloaders, ckpt_path, verbose, datamodule)

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
    ) -> list[Any] | None:
        """Predictions of this rank's batches: a list, or a list per loader where there are several."""
        keep = return_predictions is not False
        with self._evaluation(PREDICT, model, dataloaders, ckpt_path, datamodule) as loop:
            _, outputs = loop.run(keep_outputs=keep)
        if not keep:
            return None
        return outputs[0] if len(outputs) == 1 else outputs

    def save_checkpoint(self, filepath: str | Path, weights_only: bool = False) -> None:
        """Write a single-file checkpoint with Lightning's keys. A collective call: all ranks make it."""
        from leyden.checkpoint.files import save_file

        save_file(self, Path(filepath), weights_only)
        self.tick()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0 only."""
        if self.is_global_zero:
            print(*args, **kwargs)

    def warn(self, message: str) -> None:
        """A warning on rank 0, once per place."""
        if self.is_global_zero:
            warnings.warn(message, stacklevel=3)

    # What hooks read.

    @property
    def lightning_module(self) -> LightningModule:
        """The module of the run."""
        if self._module is None:
            raise MisconfigurationError("the Trainer has no module yet: call fit(module) first")
        return self._module

    @property
    def model(self) -> LightningModule | None:
        return self._module

    @property
    def current_epoch(self) -> int:
        """The running epoch, from 0; after training, the number of epochs done."""
        return self.run_state.epoch + (self.run_state.epoch_done and not self.fitting)

    @property
    def global_step(self) -> int:
        """Optimizer steps taken, over all optimizers."""
        return self.run_state.global_step

    @property
    def max_epochs(self) -> int:
        return self.settings.max_epochs

    @property
    def max_steps(self) -> int:
        return self.settings.max_steps

    @property
    def default_root_dir(self) -> Path:
        return self.settings.default_root_dir

    @property
    def accumulate_grad_batches(self) -> int:
        return self.settings.accumulate_grad_batches

    @property
    def precision(self) -> str:
        return self.precision_plugin.name

    @property
    def global_rank(self) -> int:
        return self.strategy.world.global_rank

    @property
    def local_rank(self) -> int:
        return self.strategy.world.local_rank

    @property
    def world_size(self) -> int:
        return self.strategy.world.world_size

    @property
    def is_global_zero(self) -> bool:
        return self.strategy.world.global_rank == 0

    @property
    def logger(self) -> Logger | None:
        """The first logger."""
        return self.loggers[0] if self.loggers else None

    @property
    def log_dir(self) -> str | None:
        """The first logger's directory."""
        return self.loggers[0].log_dir if self.loggers else str(self.default_root_dir)

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """All metrics logged so far, by name, newest values."""
        for name, value in self.logs.latest().items():
            self._epoch_metrics[name] = value if isinstance(value, Tensor) else torch.tensor(value)
        return self._epoch_metrics

    @property
    def logged_metrics(self) -> dict[str, float]:
        """What the loggers were given last, by name."""
        return self._logged_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What was logged with ``prog_bar=True``."""
        names = self._progress_names | self.logs.progress_bar_names()
        return {name: float(value) for name, value in self.callback_metrics.items() if name in names}

    @property
    def checkpoint_callbacks(self) -> list[ModelCheckpoint]:
        return [callback for callback in self.callbacks if isinstance(callback, ModelCheckpoint)]

    @property
    def checkpoint_callback(self) -> ModelCheckpoint | None:
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        return next((callback for callback in self.callbacks if isinstance(callback, EarlyStopping)), None)

    @property
    def checkpoint_directory(self) -> CheckpointDirectory | None:
        """The callback that commits checkpoint directories, if there is one."""
        return next((callback for callback in self.callbacks if isinstance(callback, CheckpointDirectory)), None)

    @property
    def estimated_stepping_batches(self) -> float:
        """Optimizer steps that the whole run takes, as far as known; infinite where nothing limits it."""
        steps = math.inf if self.max_steps == -1 else self.max_steps
        if self.max_epochs == -1:
            return steps
        if not self.num_training_batches:
            fitting.load_training_source(self)
        per_epoch = math.ceil(self.num_training_batches / self.accumulate_grad_batches)
        return min(steps, per_epoch * self.max_epochs)

    @property
    def steps_left(self) -> float:
        """Optimizer steps until the run ends; infinite where nothing limits it."""
        state = self.run_state
        by_steps = math.inf if self.max_steps == -1 else self.max_steps - state.global_step
        if self.max_epochs == -1:
            return by_steps
        whole = math.ceil(self.num_training_batches / self.accumulate_grad_batches)
        left = math.ceil((self.num_training_batches - state.batch_idx) / self.accumulate_grad_batches)
        return min(by_steps, left + whole * (self.max_epochs - state.epoch - 1))

    @property
    def samples_per_step(self) -> int | None:
        """Samples that all ranks take in an optimizer step, where the loader is Leyden's to know."""
        batches = self.training_source.batches if self.training_source is not None else None
        if batches is None:
            return None
        return batches.batch_size * batches.place.world_size * self.accumulate_grad_batches

    # What the loops call.

    def transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The batch on the run's device, by the module's or the data module's hooks."""
        if self._moves_plainly:
            return batch
        before, move, after = self._transfer_hooks
        batch = before(batch, dataloader_idx)
        batch = move(batch, self.strategy.device, dataloader_idx)
        return after(batch, dataloader_idx)

    def run_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """``manual_backward``."""
        self.hooks.on_before_backward(loss)
        self.strategy.before_manual_backward(loss)
        self.lightning_module.backward(loss, *args, **kwargs)
        self.hooks.on_after_backward()

    def take_epoch_metrics(self, logs: Logs, step: int, label: str = "") -> dict[str, float]:
        """Close an epoch's metrics: for callbacks, loggers, and as the result of an evaluation."""
        self._progress_names |= logs.progress_bar_names()
        self._epoch_metrics.update(self.callback_metrics)
        callbacks, loggers = logs.finish_epoch()
        if self.sanity_checking:
            return {}
        self._epoch_metrics.update({name: torch.tensor(value) for name, value in callbacks.items()})
        self.send_to_loggers(loggers, step)
        return loggers

    def log_step(self, logs: Logs) -> None:
        """Give a step's metrics to the loggers, every ``log_every_n_steps``."""
        every = self.settings.log_every_n_steps
        if every and self.run_state.batches_stepped % every == 0:
            values = {name: float(value) for name, value in logs.step_values().items()}
            self.send_to_loggers(values, self.run_state.batches_stepped - 1)

    def send_to_loggers(self, metrics: dict[str, float], step: int) -> None:
        """Give metrics to all loggers; a metric named ``step`` replaces the step."""
        if not metrics:
            return
        self._logged_metrics.update(metrics)
        if not self.is_global_zero:
            return
        values = {"epoch": float(self.run_state.epoch), **metrics}
        axis = int(values.pop("step", step))
        for logger in self.loggers:
            logger.log_metrics(values, axis)

    def boundary(self, epoch_ended: bool) -> None:
        """Between two steps, where a run can be saved and resumed exactly: save if due, stop if asked."""
        keeper, shared = self.checkpoint_directory, self.rank_directory
        if shared is None and keeper is None:
            return
        due = keeper is not None and keeper.due(self, epoch_ended)
        stop = False
        if shared is not None and not epoch_ended:
            shared.progress(self)
        if self.agreement is not None and not epoch_ended:
            wants_stop = shared is not None and shared.stop_requested()
            stop, time_is_up = self.agreement.exchange(wants_stop, keeper is not None and keeper.time_is_up())
            due = due or time_is_up
        if keeper is not None and (due or stop):
            keeper.save(self)
        if stop:
            self.print(f"stopped on request at step {self.global_step}, checkpoint committed", flush=True)
            raise SystemExit(exit_codes.STOPPED)

    def tick(self) -> None:
        """Show the agent that this process is not stuck: a batch or a checkpoint is done."""
        if self.rank_directory is not None:
            self.rank_directory.tick()

    def report_checkpoints(self, checkpoints: Checkpoints) -> None:
        """Tell the agent what is on disk."""
        if self.rank_directory is not None:
            self.rank_directory.checkpoints(checkpoints)

    def sources(self, loaders: Any, stage: str) -> list[Source]:
        """Prepared loaders: those given, else the data module's or the module's own."""
        if loaders is None:
            owner = next(
                (o for o in (self.datamodule, self.lightning_module) if o and overrides(o, f"{stage}_dataloader")), None
            )
            loaders = getattr(owner, f"{stage}_dataloader")() if owner is not None else None
        world = self.strategy.world
        place = Place(world.global_rank, world.world_size, pad=stage == "train")
        return prepare_all(
            loaders, place, self.settings.use_distributed_sampler, sequential=bool(self.settings.overfit_batches)
        )

    # The frame around every run.

    @contextmanager
    def _running(self, module: Any, datamodule: Any, stage: str) -> Iterator[None]:
        """Connect, set up, run, tear down; an exception passes through ``on_exception`` first."""
        self._check(module, datamodule)
        self._module, self.datamodule, self.stage = module, datamodule, stage
        self.fitting = stage == "fit"
        module.trainer = self
        if datamodule is not None:
            datamodule.trainer = self
        self.strategy.connect()
        try:
            self._set_up(stage)
            yield
            self.fitting = False
            self._tear_down(stage)
            self._finish_loggers("success")
        except BaseException as error:
            self._finish_loggers("failed")
            if datamodule is not None:
                datamodule.on_exception(error)
            if hasattr(self, "hooks"):
                self.hooks.on_exception(error)
            raise
        finally:
            self.fitting = False
            self.scope.leave_batch()
            self.strategy.disconnect()

    def _check(self, module: Any, datamodule: Any) -> None:
        if not isinstance(module, LightningModule):
            raise bad_value("model", type(module).__qualname__, "a LightningModule")
        if datamodule is not None and not isinstance(datamodule, LightningDataModule):
            raise bad_value("datamodule", type(datamodule).__qualname__, "a LightningDataModule")

    def _set_up(self, stage: str) -> None:
        module, data = self.lightning_module, self.datamodule
        if stage == "fit":
            self._attach_module_callbacks(module)
        for owner in (data, module):
            if owner is not None and self.local_rank == 0:
                owner.prepare_data()
        self.strategy.barrier()
        if data is not None:
            data.setup(stage)
        for callback in self.callbacks:
            callback.setup(self, module, stage)
        module.setup(stage)
        module.configure_model()
        module.to(self.strategy.device)
        self.hooks = HookTable(self, module, self.callbacks, self.scope)
        owners = [
            next((o for o in (data, module) if o is not None and overrides(o, name)), module)
            for name in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
        ]
        names = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
        self._transfer_hooks = [getattr(owner, name) for owner, name in zip(owners, names, strict=True)]
        custom = any(overrides(owner, name) for owner, name in zip(owners, names, strict=True))
        self._moves_plainly = self.strategy.device.type == "cpu" and not custom

    def _attach_module_callbacks(self, module: LightningModule) -> None:
        given = module.configure_callbacks()
        own = list(given) if isinstance(given, (list, tuple)) else [given]
        kinds = {type(callback) for callback in own}
        self.callbacks = _in_order([c for c in self.callbacks if type(c) not in kinds] + own)

    def _tear_down(self, stage: str) -> None:
        if self.datamodule is not None:
            self.datamodule.teardown(stage)
        for callback in self.callbacks:
            callback.teardown(self, self.lightning_module, stage)
        self.lightning_module.teardown(stage)

    def _finish_loggers(self, status: str) -> None:
        for logger in self.loggers if self.is_global_zero else ():
            logger.finalize(status)

    def open_rank_directory(self) -> None:
        """Connect to the agent, where there is one."""
        path = os.environ.get(environment.RANK_DIR)
        if path and self.rank_directory is None:
            self.rank_directory = RankDirectory(Path(path), reports=self.is_global_zero)
        keeper = self.checkpoint_directory
        timed = keeper is not None and keeper.plan.every.minutes is not None
        if path or timed:
            self.agreement = Agreement(self.strategy)

    # Evaluation.

    @contextmanager
    def _evaluation(
        self, stage: Stage, model: Any, loaders: Any, ckpt_path: str | Path | None, datamodule: Any
    ) -> Iterator[EvaluationLoop]:
        path = self._checkpoint_path(ckpt_path)
        module = model if model is not None else self._module
        data = datamodule if datamodule is not None else (self.datamodule if loaders is None else None)
        kept = self.run_state
        callback_metrics = self._epoch_metrics
        self._reset()
        self.run_state, self._epoch_metrics = kept, callback_metrics
        names = {"validation": "validate", "test": "test", "predict": "predict"}
        with self._running(module, data, names[stage.name]):
            if path is not None:
                fitting.load_weights(self, path)
            loop = EvaluationLoop(self, stage, self.sources(loaders, stage.short))
            if stage is not PREDICT and not overrides(self.lightning_module, stage.step):
                raise MisconfigurationError(f"{type(module).__qualname__} has no {stage.step}()")
            if not loop.sources:
                raise MisconfigurationError(
                    f"there is nothing to run: give dataloaders or a {stage.short}_dataloader()"
                )
            yield loop

    def _evaluate(
        self, stage: Stage, model: Any, loaders: Any, ckpt_path: Any, verbose: bool, datamodule: Any
    ) -> list[dict[str, float]]:
        with self._evaluation(stage, model, loaders, ckpt_path, datamodule) as loop:
            results, _ = loop.run()
        if verbose:
            for result in results:
                self.print("  ".join(f"{name}={value:.6g}" for name, value in result.items()), flush=True)
        return results

    def _checkpoint_path(self, given: str | Path | None) -> Path | None:
        """``"best"`` and ``"last"`` as the callbacks know them; other paths as they are."""
        if given not in ("best", "last"):
            return Path(given) if given is not None else None
        found = [getattr(callback, f"{given}_model_path") for callback in self.checkpoint_callbacks]
        if given == "best" and self.checkpoint_callback is not None:
            found = [self.checkpoint_callback.best_model_path]
        path = next((path for path in found if path), None)
        if path is None:
            raise bad_value("ckpt_path", given, "a path here: no ModelCheckpoint has saved such a file")
        return Path(path)


def _callbacks(
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
    return _in_order(callbacks)


def _in_order(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks that save come last, so that they see what the others did."""
    saving = (ModelCheckpoint, CheckpointDirectory)
    return sorted(callbacks, key=lambda callback: isinstance(callback, saving))


def _loggers(given: Any, root: Path, in_job: bool, fast: bool) -> list[Logger]:
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
