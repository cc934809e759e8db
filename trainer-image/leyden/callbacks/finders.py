"""The Tuner's searches as the first thing that a ``fit`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError
from leyden.fitting import train_within
from leyden.tuner import lr_finder, tuning
from leyden.tuner.lr_finder import LRFinder
from leyden.tuner.tuning import SizeSearch, find_rate, find_size, rate_name

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class LearningRateFinder(Callback):
    """:meth:`leyden.tuner.Tuner.lr_find` when ``fit`` begins; override ``on_train_epoch_start`` to call
    :meth:`lr_find` again later. The suggestion goes to the module and to the optimizers of the run."""

    searches = True
    SUPPORTED_MODES = lr_finder.MODES

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        self._options = (mode.lower(), min_lr, max_lr, num_training_steps)
        LRFinder(*self._options)  # refuses wrong ones now
        self._early_stop_threshold = early_stop_threshold
        self._update_attr = update_attr
        self._attr_name = attr_name
        self.optimal_lr: LRFinder | None = None
        """What the last search found."""

    def lr_find(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, and set the suggestion."""
        name = rate_name(pl_module, self._attr_name) if self._update_attr else ""
        found = self.optimal_lr = find_rate(
            trainer,
            pl_module,
            LRFinder(*self._options),
            self._early_stop_threshold,
            name,
            lambda probe: train_within(trainer, probe),
        )
        if found is not None and name and (rate := found.suggestion()) is not None:
            for group in (group for optimizer in trainer.optimizers for group in optimizer.param_groups):
                group["lr"] = rate

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lr_find(trainer, pl_module)


class BatchSizeFinder(Callback):
    """:meth:`leyden.tuner.Tuner.scale_batch_size` when ``fit`` begins. One process, and loaders that the module or
    data module makes."""

    searches = True
    SUPPORTED_MODES = tuning.MODES

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        self._search = SizeSearch(mode.lower(), steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val)
        self.optimal_batch_size: int | None = init_val

    def scale_batch_size(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, and set what was found."""
        if trainer.world_size > 1:
            raise MisconfigurationError("BatchSizeFinder works in one process: ranks would find different sizes")
        maker = getattr(trainer.train_loader, "__self__", None)
        if maker is None or maker not in (pl_module, trainer.datamodule):
            raise MisconfigurationError("BatchSizeFinder needs a train_dataloader() method, which makes loaders anew")
        self.optimal_batch_size = find_size(
            trainer, pl_module, trainer.datamodule, self._search, lambda probe: train_within(trainer, probe)
        )
        trainer.training_source = None  # one of the old size, if a scheduler asked for the number of steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scale_batch_size(trainer, pl_module)
