"""Modules that come out of ``torch.compile``."""

from __future__ import annotations

from typing import Any

import torch

from leyden.hooks import overrides
from leyden.module import LightningModule

COMPILED = ("forward", "training_step", "validation_step", "test_step", "predict_step")


def unwrapped(model: Any) -> Any:
    """The LightningModule inside a compiled one, with its steps compiled in the same way; anything else as it is."""
    inner, compiled = getattr(model, "_orig_mod", None), getattr(model, "dynamo_ctx", None)
    if not isinstance(inner, LightningModule) or compiled is None:
        return model
    for name in COMPILED:
        if name not in vars(inner) and (name == "forward" or overrides(inner, name)):
            setattr(inner, name, compiled(getattr(inner, name)))
    # What is logged concerns the run and is no part of the graph; traced, it would be compiled anew for each number.
    inner.log = torch.compiler.disable(inner.log)  # type: ignore[method-assign,no-untyped-call]  # of this module alone
    return inner
