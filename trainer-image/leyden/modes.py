"""Running a module without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from leyden import rng


@contextmanager
def in_evaluation(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every submodule has its mode, and all generators their state."""
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad(), rng.isolated(device):
            module.eval()
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def on_its_device(module: Any, example: Any) -> Any:
    """An example of inputs as a batch of them would reach the module: in a run by its hooks and in its precision."""
    from leyden.nested import move

    trainer = getattr(module, "_trainer", None)
    return trainer.transfer(example, 0) if trainer is not None else move(example, module.device)
