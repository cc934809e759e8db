"""A checkpoint's weights into a module, and in words what keeps them from fitting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from leyden.errors import CheckpointMismatch

SHOWN = 4
"""Names of each kind that an error lists; the rest it counts."""


def load_weights(module: nn.Module, weights: Mapping[str, Any], strict: bool) -> None:
    """``module.load_state_dict``. Raises ``CheckpointMismatch`` where the checkpoint is of another module."""
    try:
        module.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        found = differences(module.state_dict(), weights, strict)
        if not found:
            raise
        raise CheckpointMismatch(
            f"the checkpoint does not fit {type(module).__qualname__}: " + "; ".join(found)
        ) from error


def differences(own: Mapping[str, Any], given: Mapping[str, Any], strict: bool) -> list[str]:
    """How two sets of weights differ: a phrase each for missing, unexpected and mis-shaped ones."""
    kinds = {
        "missing": [name for name in own if name not in given] if strict else [],
        "unexpected": [name for name in given if name not in own] if strict else [],
        "of another shape": [
            f"{name} ({_shape(given[name])} instead of {_shape(own[name])})"
            for name in own
            if name in given and _shape(own[name]) != _shape(given[name])
        ],
    }
    return [f"{kind}: {_some(names)}" for kind, names in kinds.items() if names]


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "scalar" if isinstance(value, Tensor) else type(value).__name__


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
