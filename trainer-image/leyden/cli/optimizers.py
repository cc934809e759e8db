"""Optimizers and schedulers as arguments: by class path, and as functions that a module calls itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jsonargparse import Namespace
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """torch's, which also says the metric that it watches."""

    def __init__(self, optimizer: Optimizer, monitor: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, **kwargs)
        self.monitor = monitor


ArgsType = list[str] | dict[str, Any] | Namespace | None
OptimizerCallable = Callable[[Iterable[Any]], Optimizer]
"""Type of a module's argument that makes its optimizer; given as a class path with ``init_args``."""
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
"""Type of a module's argument that makes its scheduler."""
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerTypeUnion = LRScheduler | ReduceLROnPlateau
LRSchedulerType = type[LRScheduler] | type[ReduceLROnPlateau]


def instantiate_class(args: Any, init: dict[str, Any]) -> Any:
    """Call ``init["class_path"]`` with the positional ``args`` (one, or a tuple) and ``init["init_args"]``."""
    module, _, name = init["class_path"].rpartition(".")
    positional = args if isinstance(args, tuple) else (args,)
    return getattr(importlib.import_module(module), name)(*positional, **init.get("init_args", {}))


def described(chosen: type | tuple[type, ...], config: Any) -> dict[str, Any] | None:
    """A class with its arguments as :func:`instantiate_class` takes it, from what was parsed; ``None``: not asked for.

    ``chosen``: what the parser was told, a class, or a tuple of bases of which the user picks a subclass.
    """
    given = config.as_dict() if isinstance(config, Namespace) else config
    if isinstance(chosen, tuple):
        return given or None
    return {"class_path": f"{chosen.__module__}.{chosen.__qualname__}", "init_args": given or {}}
