"""Batches in all the shapes that data loaders give them: collections of tensors in collections."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def apply(batch: Any, takes: Callable[[Any], bool], change: Callable[[Any], Any]) -> Any:
    """The batch with all that ``takes`` says yes to changed; the collections around it keep their types."""
    if takes(batch):
        return change(batch)
    if isinstance(batch, Mapping):
        changed = {key: apply(value, takes, change) for key, value in batch.items()}
        if not hasattr(batch, "__setitem__"):
            return type(batch)(changed)  # type: ignore[call-arg]  # as mappings are made
        kept = copy.copy(batch)  # with what a type of its own has beside its entries
        for key, value in changed.items():
            kept[key] = value
        return kept
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(apply(value, takes, change) for value in batch))
    if isinstance(batch, Sequence) and not isinstance(batch, (str, bytes, range)):
        return type(batch)([apply(value, takes, change) for value in batch])  # type: ignore[call-arg]  # as above
    if is_dataclass(batch) and not isinstance(batch, type):
        twin = copy.copy(batch)
        for part in fields(batch):
            object.__setattr__(twin, part.name, apply(getattr(batch, part.name), takes, change))
        return twin
    return batch


def move(batch: Any, device: torch.device | str) -> Any:
    """The batch with all its tensors (and whatever else has a ``to``) on the device."""
    device = torch.device(device)

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=device.type == "cuda")
        there = value.to(device)
        return value if there is None else there

    return apply(batch, lambda value: hasattr(value, "to"), moved)
