"""What a Trainer holds during a run, and what hooks read from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from torch.optim import Optimizer

from leyden.accelerators import Accelerator
from leyden.callbacks import Callback, Checkpoint, CheckpointDirectory, EarlyStopping, ProgressBar
from leyden.clusters import SLURMEnvironment
from leyden.data import LightningDataModule
from leyden.elastic import Agreement, RankDirectory, StopSignal
from leyden.hooks import HookTable
from leyden.loaders import Source
from leyden.loggers import Logger
from leyden.logs import Logs, Scope, SilentLogs
from leyden.module import LightningModule
from leyden.optim import LightningOptimizer, LRSchedulerConfig
from leyden.precision import Precision
from leyden.reductions import Metrics
from leyden.run_state import RunState
from leyden.settings import Setting, Settings
from leyden.states import RunningStage, RunStatus, TrainerFn, TrainerStatus
from leyden.strategies import Strategy

if TYPE_CHECKING:
    from leyden.evaluation import EvaluationLoop
    from leyden.profilers import Profiler
    from leyden.training import TrainingLoop


class TrainerState:
    """A run's parts and counters, and Lightning's properties of them."""

    settings: Settings
    strategy: Strategy
    precision_plugin: Precision
    slurm: SLURMEnvironment | None
    """The SLURM job that the run belongs to."""
    callbacks: list[Callback]
    profiler: Profiler
    loggers: list[Logger]
    enable_autolog_hparams: bool
    rank_directory: RankDirectory | None
    """What this process shares with its agent, from its first ``fit`` on."""

    max_epochs, min_epochs, max_steps = Setting[int](), Setting[int](), Setting[int]()
    fast_dev_run, num_sanity_val_steps, log_every_n_steps = Setting[int](), Setting[int](), Setting[int]()
    limit_train_batches, limit_val_batches = Setting[float](1.0), Setting[float](1.0)
    limit_test_batches, limit_predict_batches = Setting[float](1.0), Setting[float](1.0)
    overfit_batches = Setting[float]()
    val_check_interval = Setting[Any]()
    check_val_every_n_epoch = Setting[int | None]()
    reload_dataloaders_every_n_epochs = Setting[int]()
    gradient_clip_val, gradient_clip_algorithm = Setting[float | None](), Setting[str | None]()
    barebones = Setting[bool]()

    hooks: HookTable
    transfer: Callable[[Any, int], Any]
    """A batch and its loader's number to the batch on the run's device."""

    def reset(self) -> None:
        """As before the first run."""
        self.run_state = RunState()
        self.epoch_closed = False
        """Whether the running epoch's end is behind us, be it cut short or not."""
        self.should_stop = False
        self.is_last_batch = False
        self.num_training_batches: float = math.inf
        self.accumulate_grad_batches = self.settings.accumulate_grad_batches
        """Batches that make a step; hooks may change it between epochs, also for later runs."""
        self.reset_run()

    def reset_run(self, keeps_optimizers: bool = False) -> None:
        """As before any run, but for how far training is, and the optimizers where the module stays the same."""
        self.scope = Scope()
        self.logs = self.new_logs()
        self.validate_loop: EvaluationLoop | None = None
        self.test_loop: EvaluationLoop | None = None
        self.predict_loop: EvaluationLoop | None = None
        """The loops of evaluations, once they have begun."""
        self.state = RunStatus()
        self.datamodule: LightningDataModule | None = None
        self.ckpt_path: str | None = None
        """The checkpoint that the run began from."""
        if not keeps_optimizers:
            self.optimizers = []
            self.lr_scheduler_configs: list[LRSchedulerConfig] = []
        self.resumed: dict[str, Any] = {}
        self.trained_at_first: dict[str, bool] = {}
        """Which parameters required gradients when the fit began."""
        self.leaving = False
        """Whether the run was asked to stop, and ends at this boundary."""
        self.generators: dict[str, Any] | None = None
        """As they were before the saves of a run that is leaving: one that goes on draws nothing for their hooks."""
        self.train_loader: Callable[[], Any] | None = None
        self.training_source: Source | None = None
        self.forward_inputs: list[Any] = []
        self.looked_into_checkpoint = False
        self.training_loop: TrainingLoop | None = None
        self.agreement: Agreement | None = None
        slurm = self.slurm
        self.stop_signal = StopSignal(slurm.requeue_signal if slurm is not None and slurm.auto_requeue else None)
        self.model: LightningModule | None = None
        self.metrics = Metrics({}, {}, {})

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, or to be pickled: all but what runs, which is made anew with each run."""
        loops = ("training_loop", "validate_loop", "test_loop", "predict_loop")
        idle: dict[str, Any] = {**dict.fromkeys(loops), "train_loader": None, "lightning_optimizers": []}
        return {name: idle.get(name, value) for name, value in vars(self).items() if name not in ("hooks", "transfer")}

    def new_logs(self, training: bool = False) -> Logs:
        """Where the ``log`` calls of a stage go."""
        return (SilentLogs if self.settings.barebones else Logs)(self.scope, self.strategy, training)

    @property
    def lightning_module(self) -> LightningModule:
        """The module of the run; ``None`` before the first, when nothing but a look asks for it, as in Lightning."""
        return cast("LightningModule", self.model)

    @property
    def optimizers(self) -> list[Optimizer]:
        """The run's optimizers; others that are set step from the next epoch on."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self._optimizers = optimizers
        trainer: Any = self  # which is one
        self.lightning_optimizers = [LightningOptimizer(optimizer, trainer) for optimizer in optimizers]

    @property
    def current_epoch(self) -> int:
        """The running epoch, from 0; after training, the number of epochs that were begun."""
        return self.run_state.epoch + self.epoch_closed

    @property
    def global_step(self) -> int:
        """Optimizer steps taken, over all optimizers."""
        return self.run_state.global_step

    @property
    def fitting(self) -> bool:
        """Whether a ``fit`` runs, be it training or validating."""
        return self.state.fn is TrainerFn.FITTING and self.state.status is TrainerStatus.RUNNING

    @property
    def training(self) -> bool:
        """Whether the training loop runs."""
        return self.state.stage is RunningStage.TRAINING

    @property
    def sanity_checking(self) -> bool:
        """Whether the few validation batches ahead of training run."""
        return self.state.stage is RunningStage.SANITY_CHECKING

    @property
    def validating(self) -> bool:
        """Whether the validation loop runs, in a ``fit`` or alone."""
        return self.state.stage is RunningStage.VALIDATING

    @property
    def testing(self) -> bool:
        """Whether the test loop runs."""
        return self.state.stage is RunningStage.TESTING

    @property
    def predicting(self) -> bool:
        """Whether the prediction loop runs."""
        return self.state.stage is RunningStage.PREDICTING

    @property
    def evaluating(self) -> bool:
        """Whether a validation, sanity check or test runs."""
        return self.state.stage is not None and self.state.stage.evaluating

    @property
    def interrupted(self) -> bool:
        """Whether the last run ended by an exception."""
        return self.state.status is TrainerStatus.INTERRUPTED

    @property
    def received_sigterm(self) -> bool:
        """Whether this process was told to end during the fit."""
        return self.stop_signal.received

    @property
    def default_root_dir(self) -> str:
        """Where files go by default: a path or a URL."""
        return str(self.settings.default_root_dir)

    @property
    def min_steps(self) -> int | None:
        return self.settings.min_steps or None

    @property
    def train_dataloader(self) -> Any:
        """What training reads, as the user gave it."""
        return self.training_source.given if self.training_source is not None else None

    @property
    def val_dataloaders(self) -> Any:
        """What validation reads, as the user gave it."""
        return self.validate_loop.loaders if self.validate_loop is not None else None

    @property
    def test_dataloaders(self) -> Any:
        """What a test reads, as the user gave it."""
        return self.test_loop.loaders if self.test_loop is not None else None

    @property
    def predict_dataloaders(self) -> Any:
        """What predictions read, as the user gave it."""
        return self.predict_loop.loaders if self.predict_loop is not None else None

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        """What a ``DistributedSampler`` of the user's own needs to know."""
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    @property
    def scaler(self) -> Any:
        """The gradient scaler of ``16-mixed``; ``None`` elsewhere."""
        return self.precision_plugin.scaler

    @property
    def num_val_batches(self) -> list[float]:
        """Batches of a validation, by loader."""
        return self.validate_loop.batches if self.validate_loop is not None else []

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches of the sanity check, by loader."""
        steps = self.settings.num_sanity_val_steps
        return [batches if steps == -1 else min(steps, batches) for batches in self.num_val_batches]

    @property
    def num_test_batches(self) -> list[float]:
        """Batches of a test, by loader."""
        return self.test_loop.batches if self.test_loop is not None else []

    @property
    def num_predict_batches(self) -> list[float]:
        """Batches of a prediction, by loader."""
        return self.predict_loop.batches if self.predict_loop is not None else []

    @property
    def enable_validation(self) -> bool:
        """Whether a ``fit`` validates."""
        return self.validate_loop is not None and self.validate_loop.enabled

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
    def _accelerator_connector(self) -> Any:
        # Private in Lightning too; what prunes trials (Optuna's, Darts') asks it.
        return SimpleNamespace(
            is_distributed=self.world_size > 1, use_distributed_sampler=self.settings.use_distributed_sampler
        )

    @property
    def node_rank(self) -> int:
        """This node among the nodes."""
        return self.strategy.world.global_rank // self.strategy.world.local_world_size

    @property
    def num_devices(self) -> int:
        """Devices of this node that the run uses."""
        return self.strategy.world.local_world_size

    @property
    def device_ids(self) -> list[int]:
        """Indices of the devices of this node that the run uses."""
        return self.strategy.device_ids

    @property
    def accelerator(self) -> Accelerator:
        """What the run computes on."""
        return Accelerator.of(self.strategy.device)

    @property
    def num_nodes(self) -> int:
        """Nodes that the run uses."""
        return self.strategy.world.world_size // self.strategy.world.local_world_size

    @property
    def is_global_zero(self) -> bool:
        return self.strategy.world.global_rank == 0

    @property
    def epoch_validates(self) -> bool:
        """Whether ``check_val_every_n_epoch`` lets the epoch that runs, or comes next, be validated."""
        every = self.settings.check_val_every_n_epoch
        return every is None or (self.current_epoch + 1) % every == 0

    def loaders_are_due(self, loaded_epoch: int) -> bool:
        """Whether loaders made in ``loaded_epoch`` are to be made anew."""
        every = self.settings.reload_dataloaders_every_n_epochs
        return bool(every) and self.current_epoch - loaded_epoch >= every

    @property
    def checkpoint_callbacks(self) -> list[Checkpoint]:
        return [callback for callback in self.callbacks if isinstance(callback, Checkpoint)]

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[EarlyStopping]:
        return [callback for callback in self.callbacks if isinstance(callback, EarlyStopping)]

    @property
    def progress_bar_callback(self) -> ProgressBar | None:
        return next((callback for callback in self.callbacks if isinstance(callback, ProgressBar)), None)

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def checkpoint_directory(self) -> CheckpointDirectory | None:
        """The callback that commits checkpoint directories, if there is one."""
        return next((callback for callback in self.callbacks if isinstance(callback, CheckpointDirectory)), None)

    @property
    def gradients_wait(self) -> bool:
        """Whether gradients are on their way to a step, or by hand may be."""
        return self.training_loop is not None and self.training_loop.gradients_wait

    @property
    def steps_left(self) -> float:
        """Optimizer steps until the run ends; infinite where nothing limits it."""
        state = self.run_state
        by_steps = math.inf if self.max_steps == -1 else self.max_steps - state.global_step
        if self.max_epochs == -1:
            return by_steps
        left = self.steps_of(self.num_training_batches - state.batch_idx)
        return min(by_steps, left + self.steps_of(self.num_training_batches) * (self.max_epochs - state.epoch - 1))

    def steps_of(self, batches: float) -> float:
        """Optimizer steps that batches make; infinite where their number is."""
        return batches if math.isinf(batches) else math.ceil(batches / self.accumulate_grad_batches)

    @property
    def samples_per_step(self) -> int | None:
        """Samples that all ranks take in an optimizer step, where the loader is Leyden's to know."""
        samples = self.training_source.samples_per_batch if self.training_source is not None else None
        return samples * self.accumulate_grad_batches if samples is not None else None
