"""What ``training_step`` may give: the loss in it, and what ``on_train_batch_end`` makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from leyden.errors import MisconfigurationError, bad_value


def loss_of(output: Any, accumulated: int, world_size: int) -> Tensor | None:
    """The loss that ``backward`` starts from: its part where gradients of ``accumulated`` batches are; ``None`` for a
    batch to be skipped, which ``world_size`` must allow. Raises ``MisconfigurationError``."""
    loss = output["loss"] if isinstance(output, Mapping) and "loss" in output else output
    if loss is None:
        if world_size > 1:
            raise MisconfigurationError("training_step() returned None, which needs a single process to skip a batch")
        return None
    if not isinstance(loss, Tensor):
        raise bad_value("training_step() result", output, "a loss tensor, a dict with 'loss', or None")
    return loss / accumulated if accumulated > 1 else loss


def as_outputs(output: Any, loss: Tensor | None = None) -> Any:
    """The outputs as a dict, with the loss apart from its graph; what is neither a dict nor a loss stays as it is."""
    if isinstance(output, Mapping):
        loss = loss if loss is not None else output.get("loss")
        return {**output, "loss": loss.detach()} if isinstance(loss, Tensor) else dict(output)
    if isinstance(output, Tensor):
        return {"loss": (loss if loss is not None else output).detach()}
    return output if output is not None else {}
