"""What metric objects have taken in, in a checkpoint, so that a run resumed in mid-epoch computes the same from them.

They are found where ``log`` can find them again: Leyden's as attributes of the module, those of torchmetrics as parts
of it. The names are torchmetrics' own (``metric_state``, ``update_count``, ``merge_state``), which Leyden's have too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from leyden import nested
from leyden.metrics import Metric

States = dict[str, dict[str, Any]]
"""``metric_state`` and ``update_count`` by where the metric is in the module."""


def metrics_of(module: nn.Module) -> dict[str, Any]:
    """The metric objects by their paths."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Metric)}
    for path, part in module.named_modules():
        if hasattr(type(part), "update_count"):  # not a collection of metrics, which has a metric_state as well
            found[path] = part
    return found


def state_dict(metrics: dict[str, Any]) -> States:
    """What those of ``metrics`` hold that have taken in something."""
    return {
        path: {"state": nested.apply(metric.metric_state, torch.is_tensor, Tensor.cpu), "updates": metric.update_count}
        for path, metric in metrics.items()
        if metric.update_count
    }


def load_state_dict(
    metrics: dict[str, Any], parts: list[States], device: torch.device, warn: Callable[[str], None]
) -> None:
    """Take back what one rank held, or several where one rank takes over from them."""
    held = {path: [part[path] for part in parts if path in part] for path in metrics}
    for path in filter(held.get, metrics):
        metrics[path].reset()  # all of them first, since one may be made of others
    for path, given in held.items():
        metric = metrics[path]
        for kept in given:
            state = nested.apply(kept["state"], torch.is_tensor, lambda tensor: tensor.to(device))
            if not _take(metric, state, kept["updates"]):
                warn(f"{path}: a {type(metric).__name__} cannot be merged over ranks and lacks a part of this epoch")
                break


def _take(metric: Any, state: dict[str, Any], updates: int) -> bool:
    """Add a state to what a metric holds. Whether that is possible."""
    mine = metric.update_count
    if not mine or not state:  # one that is made of others has none
        for name, value in state.items():
            setattr(metric, name, value)
        metric._update_count = mine + updates
        return True
    metric._update_count = (mine + updates) / mine  # by which merge_state weighs a mean
    try:
        metric.merge_state(state)
    except RuntimeError:  # what it raises where states are no sums
        return False
    finally:
        metric._update_count = mine + updates
    return True
