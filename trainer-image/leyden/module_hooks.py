"""The hooks of a module, nearly all empty, with their order documented where it matters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


class ModuleHooks(nn.Module):
    """Override what you need; a hook that is not overridden and does nothing is never called."""

    def on_fit_start(self) -> None:
        """After ``setup`` and ``configure_optimizers``."""

    def on_fit_end(self) -> None:
        """The last of ``fit`` before ``teardown``."""

    def on_train_start(self) -> None:
        """Before the first epoch of training."""

    def on_train_end(self) -> None:
        """After the last epoch of training."""

    def on_train_epoch_start(self) -> None:
        """Before the batches of an epoch of training."""

    def on_train_epoch_end(self) -> None:
        """After the batches of an epoch of training; ``log`` here reaches the epoch's metrics."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Before a training batch. -1 skips the rest of the epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a training batch; ``outputs`` is what ``training_step`` gave, as a dict."""

    def on_validation_start(self) -> None:
        """Before a run over the validation loaders."""

    def on_validation_end(self) -> None:
        """After a run over the validation loaders."""

    def on_validation_epoch_start(self) -> None:
        """Before the batches of an epoch of validation."""

    def on_validation_epoch_end(self) -> None:
        """After the batches of an epoch of validation; ``log`` here reaches the epoch's metrics."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before a validation batch."""

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After a validation batch; ``outputs`` is what the step gave."""

    def on_test_start(self) -> None:
        """Before a run over the test loaders."""

    def on_test_end(self) -> None:
        """After a run over the test loaders."""

    def on_test_epoch_start(self) -> None:
        """Before the batches of an epoch of test."""

    def on_test_epoch_end(self) -> None:
        """After the batches of an epoch of test; ``log`` here reaches the epoch's metrics."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before a test batch."""

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After a test batch; ``outputs`` is what the step gave."""

    def on_predict_start(self) -> None:
        """Before a run over the prediction loaders."""

    def on_predict_end(self) -> None:
        """After a run over the prediction loaders."""

    def on_predict_epoch_start(self) -> None:
        """Before the batches of an epoch of prediction."""

    def on_predict_epoch_end(self) -> None:
        """After the batches of an epoch of prediction; ``log`` here reaches the epoch's metrics."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before a prediction batch."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After a prediction batch; ``outputs`` is the prediction."""

    def on_epoch_start(self) -> None:
        """Before an epoch of any stage, ahead of the stage's own hook."""

    def on_epoch_end(self) -> None:
        """After an epoch of any stage, behind the stage's own hook."""

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Before gradients are cleared."""

    def on_before_backward(self, loss: Tensor) -> None:
        """Before ``backward``."""

    def on_after_backward(self) -> None:
        """After ``backward``, gradients not yet clipped."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Before the optimizer steps and before gradients are clipped."""

    def on_validation_model_eval(self) -> None:
        """Set the mode of the module; without an override it goes to ``eval``."""
        self.eval()

    def on_validation_model_train(self) -> None:
        """Set the mode back; without an override each submodule returns to the mode it had."""
        self.train()

    def on_test_model_eval(self) -> None:
        """Set the mode of the module; without an override it goes to ``eval``."""
        self.eval()

    def on_test_model_train(self) -> None:
        """Set the mode back; without an override each submodule returns to the mode it had."""
        self.train()

    def on_predict_model_eval(self) -> None:
        """Set the mode of the module; without an override it goes to ``eval``."""
        self.eval()

    def on_predict_model_train(self) -> None:
        """Set the mode back; without an override each submodule returns to the mode it had."""
        self.train()

    def on_validation_model_zero_grad(self) -> None:
        """Before a validation run inside training, unless gradients are being accumulated: clears them."""
        self.zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint that is about to be written."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read from a checkpoint that is about to be restored."""
