"""Constructor arguments that a checkpoint can hold and a reader can rebuild without running code from the file."""

from __future__ import annotations

import copy
import io
import pickle
import sys
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from leyden.hparams import constructor_arguments

PLAIN = (type(None), bool, int, float, str, bytes, complex, torch.dtype, torch.device)


def of_module(module: nn.Module) -> dict[str, Any]:
    """The module's constructor arguments, as far as they can be stored."""
    return storable(constructor_arguments(module), owner=type(module))


def storable(values: dict[str, Any], owner: type | None = None) -> dict[str, Any]:
    """The entries whose values can be read again; the others are left out. Those of ``owner``'s constructor may be
    modules."""
    return {name: _plain(value) for name, value in values.items() if _is_storable(value, owner)}


def _is_storable(value: Any, owner: type | None) -> bool:
    if isinstance(value, nn.Module):
        return owner is not None and _is_readable(value, owner)
    if isinstance(value, dict):
        return all(isinstance(key, PLAIN) and _is_storable(item, owner) for key, item in value.items())
    if isinstance(value, (list, tuple, set)):
        return all(_is_storable(item, owner) for item in value)
    return isinstance(value, Tensor) or type(value) in PLAIN


_READ_BACK: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Modules that were looked into: what is asked at each save must cost nothing."""

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _is_readable(module: nn.Module, owner: type) -> bool:
    if any(getattr(part, hooks) for part in module.modules() for hooks in HOOKS):
        return False  # functions, which come and go
    if module not in _READ_BACK:
        _READ_BACK[module] = _reads_back(module, owner)
    return _READ_BACK[module]


def _reads_back(module: nn.Module, owner: type) -> bool:
    """Whether a reader takes what is written of a module: not so where it holds a function, for example, or a layer of
    another file. Tried without its weights, which can always be read."""
    tensors: dict[int, Any] = {id(p): nn.Parameter(torch.empty(0), requires_grad=False) for p in module.parameters()}
    tensors |= {id(b): torch.empty(0) for b in module.buffers()}
    written = io.BytesIO()
    try:
        torch.save(copy.deepcopy(module, tensors), written)
        written.seek(0)
        with torch.serialization.safe_globals(safe_classes(owner)):
            torch.load(written, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError):
        return False
    return True


def _plain(value: Any) -> Any:
    """Containers as their plain types."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, set)):
        return [_plain(item) for item in value]
    return tuple(_plain(item) for item in value) if isinstance(value, tuple) else value


def safe_classes(owner: type) -> list[Any]:
    """Classes that may be rebuilt from a checkpoint: torch's own layers, and those of the module that defines
    ``owner``, which is imported already. Building one sets its attributes and runs nothing of the file's."""
    layers = [entry for entry in vars(nn.modules).values() if isinstance(entry, type) and issubclass(entry, nn.Module)]
    home = sys.modules.get(owner.__module__)
    own = [
        entry
        for entry in vars(home).values()
        if isinstance(entry, type) and issubclass(entry, nn.Module) and entry.__module__ == owner.__module__
    ]
    # A script's own classes are saved as those of `__main__` and read by a server under the script's name.
    as_main: list[Any] = [(entry, f"__main__.{entry.__qualname__}") for entry in own if owner.__module__ != "__main__"]
    return [*layers, *own, *as_main]
