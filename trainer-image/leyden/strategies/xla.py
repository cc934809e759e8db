"""TPUs, through torch_xla where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from leyden.errors import bad_value
from leyden.strategies.base import SingleDeviceStrategy


def xla_device() -> torch.device:
    """The TPU that torch_xla gives this process. Raises ``MisconfigurationError`` where it is not installed."""
    if find_spec("torch_xla") is None:
        raise bad_value("accelerator", "tpu", "'cpu', 'cuda' or 'auto' here: torch_xla, which a TPU needs, is missing")
    device: torch.device = import_module("torch_xla").device()
    return device


class SingleDeviceXLAStrategy(SingleDeviceStrategy):
    """One process on one TPU core. A graph is run whenever the next step begins."""

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        step, run_graph = super().wrap(module), import_module("torch_xla").sync

        def run(*args: Any, **kwargs: Any) -> Any:
            run_graph()
            return step(*args, **kwargs)

        return run
