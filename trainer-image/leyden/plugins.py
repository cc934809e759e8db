"""What ``Trainer(plugins=...)`` takes: a precision, a way to storage, and what knows a process's place in a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from leyden.checkpoint.io import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO
from leyden.clusters import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from leyden.environments import ClusterEnvironment
from leyden.errors import MisconfigurationError, bad_value
from leyden.precision import CPU, Precision

__all__ = [
    "AsyncCheckpointIO",
    "CheckpointIO",
    "ClusterEnvironment",
    "DoublePrecision",
    "HalfPrecision",
    "LightningEnvironment",
    "MixedPrecision",
    "Plugins",
    "Precision",
    "SLURMEnvironment",
    "TorchCheckpointIO",
    "TorchElasticEnvironment",
]


class MixedPrecision(Precision):
    """``16-mixed`` or ``bf16-mixed``, as Lightning's users give it; the first may have a ``scaler`` of one's own."""

    def __init__(self, precision: object, device: torch.device | str = CPU, scaler: Any = None):
        super().__init__(precision, device)
        if scaler is not None and self.scaler is None:
            raise bad_value("scaler", type(scaler).__qualname__, f"left out with precision={precision!r}")
        self.scaler = scaler if scaler is not None else self.scaler


class HalfPrecision(Precision):
    """``16-true`` or ``bf16-true``."""

    def __init__(self, precision: object = "16-true", device: torch.device | str = CPU):
        super().__init__(precision, device)


class DoublePrecision(Precision):
    """``64-true``."""

    def __init__(self, precision: object = "64-true", device: torch.device | str = CPU):
        super().__init__(precision, device)


ROLES = {"checkpoint_io": CheckpointIO, "precision": Precision, "cluster": ClusterEnvironment}


@dataclass(frozen=True)
class Plugins:
    """The Trainer's plugins, by what they do."""

    checkpoint_io: CheckpointIO | None = None
    precision: Precision | None = None
    cluster: ClusterEnvironment | None = None

    @classmethod
    def of(cls, given: Any) -> Plugins:
        """Sort them. Raises ``MisconfigurationError`` for what cannot be honoured."""
        plugins = list(given) if isinstance(given, (list, tuple)) else [given] if given is not None else []
        found: dict[str, Any] = {}
        for plugin in plugins:
            role = next((role for role, kind in ROLES.items() if isinstance(plugin, kind)), None)
            if role is None:
                raise bad_value(
                    "plugins",
                    type(plugin).__qualname__,
                    "a CheckpointIO, a leyden.precision.Precision, or an object with main_address, main_port, "
                    "global_rank(), local_rank() and world_size()",
                )
            if role in found:
                raise MisconfigurationError(f"plugins holds two that decide on the {role}: give one")
            found[role] = plugin
        return cls(**found)

    def choose_precision(self, given: object, device: torch.device) -> Precision:
        """The run's, by the argument or by the plugin."""
        if self.precision is None:
            return Precision(given, device)
        if given is not None:
            raise MisconfigurationError(f"precision={given!r} and a precision among the plugins exclude each other")
        return self.precision.on(device)
