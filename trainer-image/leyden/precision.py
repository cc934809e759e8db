"""Number formats of a run: ``32-true`` and ``bf16-mixed``."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from leyden.errors import one_of

ALIASES = {None: "32-true", 32: "32-true", "32": "32-true", "bf16": "bf16-mixed"}
NAMES = ("32-true", "bf16-mixed")


class Precision:
    """How the steps compute. Parameters, gradients and optimizer states stay in float32 either way."""

    def __init__(self, given: object, device: torch.device):
        name = ALIASES.get(given, given) if isinstance(given, (str, int, type(None))) else given
        if name not in NAMES:
            raise one_of("precision", given, NAMES)
        self.name: str = name
        self.device = device
        self.mixed = self.name == "bf16-mixed"

    def context(self) -> AbstractContextManager[object]:
        """Run a step inside it."""
        if self.mixed:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()
