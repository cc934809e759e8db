"""Stochastic Weight Averaging (Izmailov et al., UAI 2018): the mean of the weights at the ends of late epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

from leyden.callbacks.base import Callback
from leyden.callbacks.weight_averaging import need_whole_weights
from leyden.errors import MisconfigurationError, bad_value
from leyden.optim import LRSchedulerConfig

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class StochasticWeightAveraging(Callback):
    """From ``swa_epoch_start`` on (an epoch counted from 1, or a share of ``max_epochs``), hold the learning rate at
    ``swa_lrs`` and average the weights once an epoch; the module has the average when training ends.

    Batch norm statistics are computed anew for the average by one pass over the training data, without hooks.
    """

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: Literal["cos", "linear"] = "cos",
        avg_fn: Callable[..., Any] | None = None,
        device: torch.device | str | None = torch.device("cpu"),
    ) -> None:
        rates = swa_lrs if isinstance(swa_lrs, list) else [swa_lrs]
        if not rates or any(not isinstance(rate, float) or rate <= 0 for rate in rates):
            raise bad_value("swa_lrs", swa_lrs, "a positive float or a list of them")
        whole = isinstance(swa_epoch_start, int)
        if swa_epoch_start < 1 if whole else not 0 <= swa_epoch_start <= 1:
            raise bad_value("swa_epoch_start", swa_epoch_start, "an epoch (an integer from 1) or a share (0.0 to 1.0)")
        self._rates = swa_lrs
        self._given_start = swa_epoch_start
        self._annealing = (annealing_epochs, annealing_strategy)
        if avg_fn is not None and not callable(avg_fn):
            raise bad_value("avg_fn", avg_fn, "a function of the average, the weights and how many were averaged")
        self._avg_fn = avg_fn
        self._device = torch.device(device) if device is not None else None
        self._start = 0
        self._average: AveragedModel | None = None
        self._scheduler: SWALR | None = None
        self._restored: dict[str, Any] = {}
        self._last_epoch = -1

    @property
    def swa_start(self) -> int:
        """The first epoch that is averaged, from 0; known when ``fit`` has begun."""
        return self._start

    @property
    def swa_end(self) -> int:
        """The last epoch that is averaged."""
        return self._trainer.max_epochs - 1 if self._trainer is not None else -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            need_whole_weights(self, trainer)
            self._average = AveragedModel(pl_module, device=self._device, avg_fn=self._avg_fn)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(trainer.optimizers) != 1 or len(trainer.lr_scheduler_configs) > 1:
            raise MisconfigurationError("StochasticWeightAveraging works with one optimizer and at most one scheduler")
        if isinstance(self._given_start, float) and trainer.max_epochs == -1:
            raise bad_value("swa_epoch_start", self._given_start, "an integer, for max_epochs=-1 has no share")
        first = self._given_start if isinstance(self._given_start, int) else int(trainer.max_epochs * self._given_start)
        self._start = max(first - 1, 0)
        if self._restored:
            self._take_over_the_rate(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch < self._start:
            return
        if self._scheduler is None:
            self._take_over_the_rate(trainer)
        if epoch > self._last_epoch:
            self._model.update_parameters(pl_module)
            self._last_epoch = epoch

    def _take_over_the_rate(self, trainer: Trainer) -> None:
        optimizer = trainer.optimizers[0]
        rates = self._rates if isinstance(self._rates, list) else [self._rates] * len(optimizer.param_groups)
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["initial_lr"] = rate
        epochs, strategy = self._annealing
        # As Lightning does it: with cosine annealing the rate is at its end from the beginning.
        last = trainer.max_epochs if strategy == "cos" else -1
        options: dict[str, Any] = {"swa_lr": rates, "anneal_epochs": epochs, "anneal_strategy": strategy}
        self._scheduler = SWALR(optimizer, last_epoch=last, **options)
        if self._restored:
            self._scheduler.load_state_dict(self._restored)
        trainer.lr_scheduler_configs[:] = [LRSchedulerConfig(self._scheduler)]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last_epoch < 0:
            return
        for average, current in zip(self._model.module.parameters(), pl_module.parameters(), strict=True):
            current.detach().copy_(average)
        update_bn(_training_batches(trainer), pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run whose checkpoint had left nothing to do ends with the average as well."""
        if trainer.resumed:
            self.on_train_end(trainer, pl_module)

    @property
    def _model(self) -> AveragedModel:
        assert self._average is not None, "setup() makes it for a fit"
        return self._average

    def state_dict(self) -> dict[str, Any]:
        return {
            "n_averaged": int(self._average.n_averaged) if self._average is not None else 0,
            "latest_update_epoch": self._last_epoch,
            "scheduler_state": self._scheduler.state_dict() if self._scheduler is not None else {},
            "average_model_state": self._average.module.state_dict() if self._average is not None else {},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_epoch = state_dict["latest_update_epoch"]
        self._restored = state_dict["scheduler_state"]
        self._model.n_averaged.fill_(state_dict["n_averaged"])
        self._model.module.load_state_dict(state_dict["average_model_state"])


def _training_batches(trainer: Trainer) -> Iterator[Any]:
    """As many batches of the training data as the last epoch had, on the run's device."""
    source = trainer.training_source
    assert source is not None, "training has read it"
    source.start_epoch(trainer.current_epoch)
    for batch in islice(source.open(), trainer.run_state.batch_idx):
        yield trainer.transfer(batch, 0)
