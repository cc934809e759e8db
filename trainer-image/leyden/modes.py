"""Running a module without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
