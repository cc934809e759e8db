"""What progress bars have in common, as Lightning has it: one's own build on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class ProgressBar(Callback):
    """A bar that shows nothing yet; it knows how far a run is. Enabled on rank 0 only.

    Override hooks to show something, ``get_metrics`` to change which metrics, and the ``*_description`` properties to
    name stages.
    """

    refresh_rate = 1
    """Batches from one look at the clock to the next."""

    _enabled = True
    _current_eval_dataloader_idx: int | None = None

    @property
    def trainer(self) -> Trainer:
        """The Trainer of the run."""
        if self._trainer is None:
            raise MisconfigurationError(f"{type(self).__qualname__} has no Trainer yet: no run has begun")
        return self._trainer

    @property
    def is_enabled(self) -> bool:
        return self._enabled and self.refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        return not self.is_enabled

    def disable(self) -> None:
        """Show nothing until :meth:`enable`."""
        self._enabled = False

    def enable(self) -> None:
        """Undo :meth:`disable`."""
        self._enabled = True

    @property
    def sanity_check_description(self) -> str:
        return "sanity check"

    @property
    def train_description(self) -> str:
        return ""

    @property
    def validation_description(self) -> str:
        return "validation"

    @property
    def test_description(self) -> str:
        return "test"

    @property
    def predict_description(self) -> str:
        return "prediction"

    @property
    def total_train_batches(self) -> float:
        """Batches of the epoch; infinite where unknown."""
        trainer = self.trainer
        if trainer.max_epochs == -1 and trainer.max_steps > 0:
            return min(trainer.num_training_batches, trainer.max_steps - trainer.global_step)
        return trainer.num_training_batches

    @property
    def total_val_batches(self) -> float:
        """Batches of a validation over all loaders; 0 in an epoch without one."""
        return sum(self.trainer.num_val_batches) if self.trainer.epoch_validates else 0

    @property
    def total_val_batches_current_dataloader(self) -> float:
        trainer = self.trainer
        return self._of_loader(trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches)

    @property
    def total_test_batches_current_dataloader(self) -> float:
        return self._of_loader(self.trainer.num_test_batches)

    @property
    def total_predict_batches_current_dataloader(self) -> float:
        return self._of_loader(self.trainer.num_predict_batches)

    def _of_loader(self, batches: list[float]) -> float:
        return batches[self._current_eval_dataloader_idx or 0]

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Whether this is another loader than at the last call."""
        before, self._current_eval_dataloader_idx = self._current_eval_dataloader_idx, dataloader_idx
        return before != dataloader_idx

    def reset_dataloader_idx_tracker(self) -> None:
        """Forget the last loader."""
        self._current_eval_dataloader_idx = None

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print beside the bar."""
        print(*args, **kwargs)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What is shown behind speed and time: the logger's version as ``v_num``, and metrics for the bar."""
        version = trainer.logger.version if trainer.logger is not None else None
        metrics: dict[str, Any] = trainer.progress_bar_metrics
        if version in (None, ""):
            return metrics
        return {"v_num": version[-4:] if isinstance(version, str) else version, **metrics}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            self.disable()
