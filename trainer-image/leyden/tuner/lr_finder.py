"""The learning rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, bad_value, one_of

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

MODES = ("exponential", "linear")
SMOOTHING = 0.98
"""Weight of the past in the running mean of losses."""


class LRFinder:
    """What the test found: ``results`` with the lists ``lr`` and ``loss``, the latter smoothed."""

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        if mode not in MODES:
            raise one_of("mode", mode, MODES)
        if not 0 < lr_min < lr_max:
            raise bad_value("min_lr, max_lr", (lr_min, lr_max), "positive, the first less than the second")
        self.mode = mode
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.num_training = num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        if step == 0:
            return self.lr_min
        share = (step + 1) / self.num_training
        if self.mode == "linear":
            return self.lr_min + share * (self.lr_max - self.lr_min)
        return float(self.lr_min * (self.lr_max / self.lr_min) ** share)

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The rate at which the loss falls most steeply; ``None`` where fewer than two points are left."""
        end = len(self.results["loss"]) - skip_end
        points = zip(self.results["lr"][skip_begin:end], self.results["loss"][skip_begin:end], strict=True)
        finite = [(rate, loss) for rate, loss in points if abs(loss) != float("inf") and loss == loss]
        if len(finite) < 2:
            return None
        rates, losses = (torch.tensor(values) for values in zip(*finite, strict=True))
        slopes = torch.gradient(losses, spacing=[rates])[0]
        return finite[int(slopes.argmin())][0]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Loss over learning rate as a matplotlib figure, with the suggestion as a dot."""
        try:
            plt = importlib.import_module("matplotlib.pyplot")
        except ImportError as error:
            raise MisconfigurationError("plot() needs matplotlib: pip install matplotlib") from error
        figure, ax = plt.subplots() if ax is None else (ax.figure, ax)
        ax.plot(self.results["lr"], self.results["loss"])
        if self.mode == "exponential":
            ax.set_xscale("log")
        ax.set_xlabel("Learning rate")
        ax.set_ylabel("Loss")
        if suggest and (best := self.suggestion()) is not None:
            ax.plot(best, self.results["loss"][self.results["lr"].index(best)], marker="o", markersize=10, color="red")
        if show:
            plt.show()
        return figure


class RateSweep(Callback):
    """Raises the learning rate with each step, notes the loss, and stops where it explodes."""

    def __init__(self, finder: LRFinder, early_stop_threshold: float | None) -> None:
        self.finder = finder
        self.threshold = early_stop_threshold
        self._mean = 0.0
        self._best = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(trainer.optimizers) != 1:
            raise MisconfigurationError(
                f"lr_find() needs one optimizer; configure_optimizers() gives {len(trainer.optimizers)}"
            )
        trainer.lr_scheduler_configs.clear()
        self._set_rate(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, results = trainer.global_step, self.finder.results
        if step == len(results["lr"]):  # an accumulating batch
            return
        results["lr"].append(trainer.optimizers[0].param_groups[0]["lr"])
        results["loss"].append(self._smoothed(trainer, outputs, step))
        self._set_rate(trainer)

    def _smoothed(self, trainer: Trainer, outputs: Any, step: int) -> float:
        if not outputs:  # training_step skipped the batch
            return float("nan")
        of_all_ranks = float(trainer.strategy.reduce_number(outputs["loss"], "mean"))  # so that all decide alike
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * of_all_ranks
        loss = self._mean / (1 - SMOOTHING ** (step + 1))
        if self.threshold is not None and step > 1 and loss > self.threshold * self._best:
            trainer.should_stop = True
        if loss < self._best or step == 1:
            self._best = loss
        return loss

    def _set_rate(self, trainer: Trainer) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.finder.rate(len(self.finder.results["lr"]))
