"""Number formats of a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from leyden import nested
from leyden.errors import one_of

CPU = torch.device("cpu")
ALIASES = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
TYPES = {
    "64-true": torch.float64,
    "32-true": torch.float32,
    "16-mixed": torch.float16,
    "bf16-mixed": torch.bfloat16,
    "16-true": torch.float16,
    "bf16-true": torch.bfloat16,
}


class Precision:
    """How the steps compute. ``-true`` is the type of everything; with ``-mixed`` parameters, gradients and optimizer
    states stay in float32 while the steps run under autocast, in float16 with a gradient scaler."""

    def __init__(self, precision: object = None, device: torch.device | str = CPU):
        given = "32" if precision is None else str(precision)
        self.name = self.precision = ALIASES.get(given, given)
        if self.name not in TYPES:
            raise one_of("precision", precision, TYPES)
        self.device = torch.device(device)
        self.dtype = TYPES[self.name]
        self.mixed = self.name.endswith("-mixed")
        self._own_scaler = torch.amp.GradScaler(self.device.type) if self.name == "16-mixed" else None
        self.scaler = self._own_scaler

    def on(self, device: torch.device) -> Precision:
        """The same for another device."""
        twin = copy.copy(self)
        twin.device = device
        if self.scaler is not None and self.scaler is self._own_scaler:
            twin.scaler = twin._own_scaler = torch.amp.GradScaler(device.type)
        return twin

    @property
    def converts(self) -> bool:
        """Whether module and batches take another type than float32."""
        return not self.mixed and self.dtype is not torch.float32

    def creating(self) -> AbstractContextManager[object]:
        """Make modules inside it: their parameters have the run's type at once."""
        return _default_type(self.dtype) if self.converts else nullcontext()

    def convert_module(self, module: nn.Module) -> None:
        """Give the parameters and buffers their type."""
        if self.converts:
            module.to(self.dtype)

    def convert_batch(self, batch: Any) -> Any:
        """The batch with its floating point tensors in the run's type."""

        def convert(tensor: Tensor) -> Tensor:
            return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

        return nested.apply(batch, lambda value: isinstance(value, Tensor), convert)

    @property
    def has_context(self) -> bool:
        """Whether :meth:`context` does anything."""
        return self.mixed or self.converts

    def context(self) -> AbstractContextManager[object]:
        """Run a step inside it."""
        if not self.mixed:
            return self.creating()
        # A cached cast would add up, in 16 bits, the gradients of a weight that a step uses several times.
        return torch.autocast(self.device.type, dtype=self.dtype, cache_enabled=False)


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    """New tensors have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
