"""Averages of the weights over the steps of training, which validation, checkpoints and the final module use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class WeightAveraging(Callback):
    """Keeps a running average of the module in a :class:`torch.optim.swa_utils.AveragedModel`.

    Validation runs on the average, checkpoints hold it as their weights (the trained weights sit beside it, for
    resuming), and the module has it when training ends. ``options`` go to ``AveragedModel``, for example ``avg_fn``.
    """

    _average: AveragedModel
    """Of a fit, once it is set up."""

    def __init__(
        self, device: torch.device | str | int | None = None, use_buffers: bool = True, **options: Any
    ) -> None:
        self._device = device
        self._options = {"use_buffers": use_buffers, **options}
        self._last_step = 0
        self._last_epoch = -1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to take in the weights after an optimizer step or, with ``epoch_idx``, an epoch. Default: steps."""
        return step_idx is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            need_whole_weights(self, trainer)
            pl_module.configure_model()
            device = torch.device(self._device) if self._device is not None else pl_module.device
            self._average = AveragedModel(pl_module, device=device, **self._options)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > self._last_step and self.should_update(step_idx=step - 1):
            self._average.update_parameters(pl_module)
            self._last_step = step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch > self._last_epoch and self.should_update(epoch_idx=epoch):
            self._average.update_parameters(pl_module)
            self._last_epoch = epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for average, current in _pairs(self._average.module, pl_module):
            current.data.copy_(average.data)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run whose checkpoint had left nothing to do ends with the average as well."""
        if trainer.resumed:
            self.on_train_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the weights and their average."""
        if not trainer.fitting:
            return
        for average, current in _pairs(self._average.module, pl_module):
            kept = average.data.clone()
            average.data.copy_(current.data)
            current.data.copy_(kept)

    on_validation_epoch_end = on_validation_epoch_start

    def state_dict(self) -> dict[str, Any]:
        return {"latest_update_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict["latest_update_step"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not trainer.fitting:
            return
        average = self._average.state_dict()
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {n.removeprefix("module."): v for n, v in average.items() if n.startswith("module.")}
        checkpoint["averaging_state"] = {n: v for n, v in average.items() if not n.startswith("module.")}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not trainer.fitting:
            return
        if "current_model_state" not in checkpoint:  # of a run without this callback
            self._average.module.load_state_dict(checkpoint["state_dict"], strict=False)
            return
        average = {f"module.{name}": value for name, value in checkpoint["state_dict"].items()}
        self._average.load_state_dict({**average, **checkpoint["averaging_state"]})
        pl_module.load_state_dict(checkpoint["current_model_state"])


class EMAWeightAveraging(WeightAveraging):
    """An exponential moving average: after each step, ``average = decay * average + (1 - decay) * weights``."""

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **options: Any,
    ) -> None:
        average = get_ema_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch has no types here
        super().__init__(device, use_buffers, avg_fn=average, **options)
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is not None:
            begun = step_idx >= (self.update_starting_at_step or 0)
            return begun and self.update_every_n_steps > 0 and step_idx % self.update_every_n_steps == 0
        first = self.update_starting_at_epoch
        return epoch_idx is not None and first is not None and epoch_idx >= first


def need_whole_weights(callback: Callback, trainer: Trainer) -> None:
    """Raise ``MisconfigurationError`` where each rank holds a part of the weights, which cannot be averaged so."""
    if trainer.strategy.shards_weights:
        name, strategy = type(callback).__qualname__, type(trainer.strategy).__qualname__
        raise MisconfigurationError(f"{name} averages whole weights, which {strategy} shards: take strategy='ddp'")


def _pairs(average: nn.Module, current: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Parameters and buffers of both, in the same order."""
    yield from zip(average.parameters(), current.parameters(), strict=True)
    yield from zip(average.buffers(), current.buffers(), strict=True)
