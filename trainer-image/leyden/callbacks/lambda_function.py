"""A callback from functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leyden.callbacks.base import Callback
from leyden.errors import bad_value


class LambdaCallback(Callback):
    """Each keyword names a hook, each value is a function of the hook's arguments: ``trainer, pl_module, ...``."""

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if function is not None and not callable(function):
                raise bad_value(f"LambdaCallback({name})", function, "a function")
            if not hasattr(Callback, name) or name.startswith("_"):
                raise bad_value("LambdaCallback hook", name, "the name of a Callback's hook")
            if function is not None:
                setattr(self, name, function)
