"""The Trainer: what a user configures and calls, and what the loops ask of it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from leyden import fitting, running
from leyden.callbacks import Callback
from leyden.callbacks.checkpoint_directory import CheckpointDirectory, planned_by_environment
from leyden.callbacks.timer import Timer
from leyden.checkpoint.io import TorchCheckpointIO
from leyden.checkpoint.places import place
from leyden.clusters import slurm_of
from leyden.construction import choose_callbacks, choose_loggers
from leyden.creation import WithoutInitialization
from leyden.data import LightningDataModule
from leyden.elastic import Agreement, RankDirectory
from leyden.errors import MisconfigurationError, bad_value, one_of, only_weights
from leyden.evaluation import PREDICT, TEST, VALIDATION, Stage
from leyden.hooks import overrides
from leyden.loaders import Source, prepare
from leyden.loggers import Logger
from leyden.loops import FitLoop
from leyden.module import LightningModule
from leyden.plugins import Plugins
from leyden.profilers import Profiler
from leyden.profilers import choose as choose_profiler
from leyden.reporting import Reporting
from leyden.samplers import Place
from leyden.settings import Duration, Settings, from_environment, strip_to_the_bones
from leyden.states import TrainerFn
from leyden.strategies import Strategy, choose_strategy
from leyden.training import load_training_source
from leyden_contract import environment

if TYPE_CHECKING:
    from leyden_contract.wire import Checkpoints


class Trainer(Reporting):
    """Drives a :class:`LightningModule`. Arguments, methods and properties are Lightning 2's."""

    @from_environment
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
        max_time: Duration | None = None,
        val_check_interval: int | float | Duration | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        detect_anomaly: bool = False,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        reload_dataloaders_every_n_epochs: int = 0,
        sync_batchnorm: bool = False,
        plugins: Any = None,
        benchmark: bool | None = None,
        profiler: Profiler | str | None = None,
        barebones: bool = False,
        default_root_dir: str | Path | None = None,
        enable_autolog_hparams: bool = True,
        model_registry: str | None = None,
    ) -> None:
        arguments = dict(locals())  # the fields of Settings are named as the arguments
        planned = planned_by_environment()
        _fill_in(arguments, planned)
        self.callbacks = choose_callbacks(arguments, planned)
        timed = any(isinstance(callback, Timer) for callback in self.callbacks)
        self.settings = Settings.of(arguments, timed)
        self._choose_place(arguments)
        _choose_algorithms(deterministic, benchmark)
        self.profiler = choose_profiler(profiler)
        fast, root = bool(self.settings.fast_dev_run), self.settings.default_root_dir
        self.loggers = choose_loggers(arguments["logger"], root, in_job=planned is not None, fast=fast)
        self.enable_autolog_hparams = enable_autolog_hparams
        self.rank_directory = None
        self.reset()

    def _choose_place(self, arguments: dict[str, Any]) -> None:
        """Where the run computes, and in which number format."""
        own = Plugins.of(arguments["plugins"])
        asked = {name: arguments[name] for name in ("strategy", "accelerator", "devices", "num_nodes")}
        self.strategy = choose_strategy(**asked, cluster=own.cluster)
        self.slurm = slurm_of(own.cluster)
        self.strategy.checkpoint_io = own.checkpoint_io or TorchCheckpointIO()
        self.strategy.synchronize_batchnorm(arguments["sync_batchnorm"])
        self.precision_plugin = own.choose_precision(arguments["precision"], self.strategy.device)
        self.strategy.check_precision(self.precision_plugin.name)

    # What a user calls.

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train, from where an earlier ``fit`` of this Trainer ended if there was one.

        ``ckpt_path`` resumes from a checkpoint: a directory, a ``.ckpt`` file, ``"last"`` or ``"best"``. Without it, a
        :class:`CheckpointDirectory` among the callbacks resumes by its own plan. ``weights_only``: as if ``True``.
        """
        only_weights(weights_only)
        train_dataloaders, datamodule = running.sources(
            datamodule, "train_dataloaders", train_dataloaders, val_dataloaders
        )
        path = running.fit_path(self, ckpt_path)
        self.reset_run()
        self.should_stop = False

        def check(trainer: Trainer) -> None:
            fitting.check_steps(trainer)
            trainer.train_loader = trainer.loader_of(train_dataloaders, "train")  # which setup() may want to know

        with running.running(self, model, datamodule, TrainerFn.FITTING, check):
            fitting.fit(self, val_dataloaders, path)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """One pass over the validation loaders. Returns the metrics, a dict per loader.

        Without ``model`` and ``ckpt_path``, the module of the last run with the best weights that a
        :class:`ModelCheckpoint` kept, if there is one.
        """
        only_weights(weights_only)
        return self._evaluate(VALIDATION, model, dataloaders, ckpt_path, verbose, datamodule)

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """One pass over the test loaders. Returns the metrics, a dict per loader; weights as in :meth:`validate`."""
        only_weights(weights_only)
        return self._evaluate(TEST, model, dataloaders, ckpt_path, verbose, datamodule)

    def _evaluate(
        self, stage: Stage, model: Any, loaders: Any, ckpt_path: Any, verbose: bool, datamodule: Any
    ) -> list[dict[str, float]]:
        with running.evaluation(self, stage, model, loaders, ckpt_path, datamodule) as loop:
            results, _ = loop.run()
        if verbose:
            for result in results:
                self.print("  ".join(f"{name}={value:.6g}" for name, value in result.items()), flush=True)
        return results

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """Predictions of this rank's batches: a list, or a list per loader where there are several."""
        from leyden.callbacks.prediction_writer import BasePredictionWriter

        only_weights(weights_only)
        keep = return_predictions is not False
        with running.evaluation(self, PREDICT, model, dataloaders, ckpt_path, datamodule) as loop:
            writers = [callback for callback in self.callbacks if isinstance(callback, BasePredictionWriter)]
            _, predictions = loop.run(keep_outputs=keep or any(writer.keeps_predictions for writer in writers))
        return predictions if keep else None

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool | None = None, storage_options: Any = None
    ) -> None:
        """Write a single-file checkpoint with Lightning's keys, and return when it is durable.

        ``filepath`` may be a URL. A collective call: all ranks make it. Raises ``CheckpointStorage``, and
        ``MisconfigurationError`` where there is nothing to save.
        """
        from leyden.checkpoint.files import save_file

        if self.model is None:
            raise MisconfigurationError("save_checkpoint: the Trainer has no module yet, call fit(module) first")
        save_file(self, place(filepath), bool(weights_only), storage_options)
        self.tick()

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """A context in which modules are made on the run's device and in its precision; with ``empty_init`` their
        weights are not initialized, because they will be loaded."""
        initializing = WithoutInitialization() if empty_init else nullcontext()
        with self.strategy.device, self.precision_plugin.creating(), initializing:
            yield

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0 only."""
        if self.is_global_zero:
            print(*args, **kwargs)

    def warn(self, message: str) -> None:
        """A warning on rank 0, once per place."""
        if self.is_global_zero:
            warnings.warn(message, stacklevel=3)

    @property
    def fit_loop(self) -> FitLoop:
        """How far ``fit`` is and how long it goes, by the names that Lightning has for it."""
        return FitLoop(self)

    @property
    def estimated_stepping_batches(self) -> float:
        """Optimizer steps that the whole run takes, as far as known; infinite where nothing limits it."""
        steps = math.inf if self.max_steps == -1 else self.max_steps
        if self.max_epochs == -1:
            return steps
        load_training_source(self)
        return min(steps, self.steps_of(self.num_training_batches) * self.max_epochs)

    # What the loops call.

    def run_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """``manual_backward``."""
        self.hooks.on_before_backward(loss)
        self.strategy.before_manual_backward(loss)
        scaler = self.precision_plugin.scaler
        self.lightning_module.backward(loss if scaler is None else scaler.scale(loss), *args, **kwargs)
        self.hooks.on_after_backward()

    def before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Between gradients and a step of an optimizer."""
        self.hooks.on_before_optimizer_step(optimizer)
        loop = self.training_loop
        if loop is not None and loop.clips and loop.automatic:
            settings = self.settings
            loop.clip(
                optimizer,
                gradient_clip_val=settings.gradient_clip_val,
                gradient_clip_algorithm=settings.gradient_clip_algorithm,
            )

    def tick(self) -> None:
        """Show the agent that this process is not stuck: a batch or a checkpoint is done."""
        if self.rank_directory is not None:
            self.rank_directory.tick()

    def report_checkpoints(self, checkpoints: Checkpoints) -> None:
        """Tell the agent what is on disk."""
        if self.rank_directory is not None:
            self.rank_directory.checkpoints(checkpoints)

    def served_checkpoints(self) -> frozenset[str] | None:
        """Digests of this job's checkpoints that services use; ``None`` while that is not known."""
        return self.rank_directory.served() if self.rank_directory is not None else None

    def loader_of(self, loaders: Any, stage: str) -> Callable[[], Any] | None:
        """What gives a stage's loaders: the argument, the data module or the module; ``None`` where nothing does."""
        if loaders is not None:
            return lambda: loaders
        for owner in (self.datamodule, self.model):
            if owner is not None and overrides(owner, f"{stage}_dataloader"):
                found: Callable[[], Any] = getattr(owner, f"{stage}_dataloader")
                return found
        return None

    def preparing(self, pad: bool) -> Callable[[Any], Source]:
        """How a user's loader becomes what this rank reads; ``pad``: so that all ranks have as many batches."""
        world, settings = self.strategy.world, self.settings
        return partial(
            prepare,
            place=Place(world.global_rank, world.world_size, pad),
            distribute=settings.use_distributed_sampler,
            sequential=bool(settings.overfit_batches),
        )

    def open_rank_directory(self) -> None:
        """Connect to the agent, where there is one, and to the other ranks for what all do on the same step."""
        path = os.environ.get(environment.RANK_DIR)
        if path and self.rank_directory is None:
            self.rank_directory = RankDirectory(Path(path), reports=self.is_global_zero)
        self.agreement = Agreement(self.strategy)


def _fill_in(arguments: dict[str, Any], planned: CheckpointDirectory | None) -> None:
    """Change the arguments where others of them, or a job's plan, say so."""
    registry = arguments["model_registry"]
    if registry is not None:
        raise bad_value("model_registry", registry, "left out: Leyden has no registry, give ckpt_path a path")
    if arguments["barebones"]:
        strip_to_the_bones(arguments)
    if planned is not None and arguments["default_root_dir"] is None:
        # A job's pod has no other place that can be written and outlives it.
        arguments["default_root_dir"] = planned.directory


def _choose_algorithms(deterministic: bool | str | None, benchmark: bool | None) -> None:
    """Of torch, for the whole process."""
    if deterministic not in (None, True, False, "warn"):
        raise one_of("deterministic", deterministic, (None, True, False, "warn"))
    if deterministic is not None:
        torch.use_deterministic_algorithms(bool(deterministic), warn_only=deterministic == "warn")
    if deterministic:  # https://docs.nvidia.com/cuda/cublas/#results-reproducibility, without which cuBLAS raises
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if benchmark is not None or deterministic:
        torch.backends.cudnn.benchmark = bool(benchmark)
