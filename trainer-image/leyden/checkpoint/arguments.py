"""Constructor arguments that a checkpoint can hold and a reader can rebuild without running code from the file."""

from __future__ import annotations

import copy
from datetime import datetime, time, timezone
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from leyden.checkpoint.plain import NAMESPACES, NUMBERS, NUMPY_KINDS, VALUES, safe_classes, why_not_read
from leyden.hparams import constructor_arguments, constructor_signature

PLAIN = (Tensor, nn.Parameter, *NUMBERS, *VALUES)


def of_module(module: Any) -> dict[str, Any]:
    """``arguments``: those of the constructor, as far as they can be stored. ``left_out``: names of those that cannot,
    where they are not the defaults, so that another module would be built; among the hyperparameters where there are
    any, for then the program said which count."""
    owner, given = type(module), constructor_arguments(module)
    kept = storable(given, owner)
    lost = [
        name
        for name, value in (module.hparams or given).items()
        if name not in kept and not _is_storable(value, owner) and not _is_default(owner, name, value)
    ]
    return {"arguments": kept, "left_out": lost}


def _is_default(owner: type, name: str, value: Any) -> bool:
    parameter = constructor_signature(owner).parameters.get(name)
    return parameter is not None and value is parameter.default


def storable(values: dict[str, Any], owner: type | None = None) -> dict[str, Any]:
    """The entries whose values can be read again; the others are left out. Those of ``owner``'s constructor may be
    modules."""
    return {name: _plain(value) for name, value in values.items() if _is_storable(value, owner)}


def _is_storable(value: Any, owner: type | None) -> bool:
    if isinstance(value, nn.Module):
        return owner is not None and _is_readable(value, owner)
    if isinstance(value, dict):
        return all(type(key) in NUMBERS and _is_storable(item, owner) for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_storable(item, owner) for item in value)
    if type(value) in NAMESPACES:
        return _is_storable(vars(value), owner)
    if type(value) in (datetime, time) and value.tzinfo is not None:
        return type(value.tzinfo) is timezone
    if isinstance(value, type):
        return value in safe_classes(owner)
    return type(value) in PLAIN or _is_numpy(value) or _is_trusted(value, owner)


def _is_trusted(value: Any, owner: type | None) -> bool:
    """Whether the program lets readers take its class, by ``torch.serialization.add_safe_globals``, and they do."""
    named = [entry[0] if isinstance(entry, tuple) else entry for entry in torch.serialization.get_safe_globals()]
    return type(value) in named and _is_taken(value, owner)


def _is_taken(value: Any, owner: type | None) -> bool:
    try:
        return not why_not_read(value, owner)
    except Exception:  # noqa: BLE001  # a class of the program's may raise anything when it is written
        return False


def _is_numpy(value: Any) -> bool:
    kind = getattr(getattr(value, "dtype", None), "char", "")
    return type(value).__module__ == "numpy" and kind != "" and kind in NUMPY_KINDS


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
    try:
        bare = copy.deepcopy(module, tensors)
    except Exception:  # noqa: BLE001  # a class of the program's may raise anything when it is copied
        return False
    return _is_taken(bare, owner)


def _plain(value: Any) -> Any:
    """Containers and numbers as their plain types."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [_plain(item) for item in value]
    return value.item() if _is_numpy(value) and value.shape == () else value
