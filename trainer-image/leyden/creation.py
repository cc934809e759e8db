"""Making a module where, and of the type that, it will run with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class WithoutInitialization(TorchFunctionMode):
    """Leaves new parameters as the memory was: for a module whose weights are loaded right after."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def creating(device: torch.device, dtype: torch.dtype, empty: bool) -> Iterator[None]:
    """New tensors are on the device, and floating point ones of the type; ``empty`` ones are not initialized."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device, WithoutInitialization() if empty else nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)
