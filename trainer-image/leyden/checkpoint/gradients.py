"""Gradients that were on their way to a step when a run was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from leyden.trainer import Trainer


def waiting(trainer: Trainer) -> dict[str, Tensor]:
    """Those of batches since the last step, by their parameters' names. A collective call.

    Where each rank has its own, which are averaged with those of the step, all go on with the average. Not those that
    FSDP keeps for itself within accumulation.
    """
    module = trainer.lightning_module
    if not trainer.gradients_wait or (module.automatic_optimization and trainer.strategy.shards_weights):
        return {}
    parameters = dict(module.named_parameters())
    mine = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
    if trainer.world_size == 1 or not module.automatic_optimization:  # by hand they are averaged already
        return mine
    names = sorted({name for given in trainer.strategy.gather_objects(list(mine)) for name in given})
    own = (mine[name] if name in mine else torch.zeros_like(parameters[name]) for name in names)
    return {name: trainer.strategy.reduce(gradient) for name, gradient in zip(names, own, strict=True)}


def restore(trainer: Trainer, gradients: dict[str, Tensor]) -> None:
    """Take back :func:`waiting`."""
    for name, parameter in trainer.lightning_module.named_parameters() if gradients else ():
        parameter.grad = trainer.strategy.placed(gradients[name], parameter) if name in gradients else None
