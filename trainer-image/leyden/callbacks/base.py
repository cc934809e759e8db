"""What a callback may override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class Callback:
    """Something that watches or steers a run. Every hook is empty here, so override what you need."""

    watches_metrics = False
    """Whether ``on_train_epoch_end`` runs after the module's own, so that it sees what the module logs there."""

    searches = False
    """Whether it looks for hyperparameters, and so comes before the other callbacks."""

    _trainer: Trainer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_trainer": None}  # a copy, or what is pickled, belongs to no run

    def log(self, name: str, value: Any, **options: Any) -> None:
        """:meth:`leyden.LightningModule.log`, for metrics of the callback's own."""
        if self._trainer is not None:
            self._trainer.lightning_module.log(name, value, **options)

    def log_dict(self, dictionary: Mapping[str, Any], **options: Any) -> None:
        """:meth:`log` for each entry."""
        if self._trainer is not None:
            self._trainer.lightning_module.log_dict(dictionary, **options)

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint; two callbacks of one class need different keys."""
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback, of plain values and tensors."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before everything else of ``fit``, ``validate``, ``test`` or ``predict``."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After everything else."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``setup`` and ``configure_optimizers``."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last of ``fit`` before ``teardown``."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first epoch of training."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the last epoch of training."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the batches of an epoch of training."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the batches of an epoch of training; ``log`` here reaches the epoch's metrics."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> int | None:
        """Before a training batch. -1 skips the rest of the epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After a training batch; ``outputs`` is what ``training_step`` gave, as a dict."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a run over the validation loaders."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a run over the validation loaders."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the batches of an epoch of validation."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the batches of an epoch of validation; ``log`` here reaches the epoch's metrics."""

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a validation batch."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """After a validation batch; ``outputs`` is what the step gave."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a run over the test loaders."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a run over the test loaders."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the batches of an epoch of test."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the batches of an epoch of test; ``log`` here reaches the epoch's metrics."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a test batch."""

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """After a test batch; ``outputs`` is what the step gave."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a run over the prediction loaders."""

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a run over the prediction loaders."""

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the batches of an epoch of prediction."""

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the batches of an epoch of prediction; ``log`` here reaches the epoch's metrics."""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a prediction batch."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """After a prediction batch; ``outputs`` is the prediction."""

    def on_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before an epoch of any stage, ahead of the stage's own hook."""

    def on_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After an epoch of any stage, behind the stage's own hook."""

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Before gradients are cleared."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Before ``backward``."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``backward``, gradients not yet clipped."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Before the optimizer steps and before gradients are clipped."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the few validation batches that are run ahead of training."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After them."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """When a run ends by an exception."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint that is about to be written."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read from a checkpoint that is about to be restored."""


class Checkpoint(Callback):
    """Base of callbacks that save the run: they come last, and with one of them the Trainer adds none of its own."""

    watches_metrics = True

    def before_commit(self, trainer: Trainer) -> None:
        """Settle what a checkpoint that is committed first has to say of this one. A collective call."""

    def commit(self, trainer: Trainer) -> bool:
        """Save before a run stops on request, and wait until that is durable. Whether a next run can go on from it."""
        return False
