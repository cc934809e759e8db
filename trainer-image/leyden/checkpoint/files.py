"""Single-file checkpoints with Lightning's keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from leyden.checkpoint.capture import capture
from leyden.errors import CheckpointStorage

if TYPE_CHECKING:
    from leyden.trainer import Trainer


def save_file(trainer: Trainer, path: Path, weights_only: bool) -> None:
    """Write the file whole or not at all. A collective call; rank 0 writes and all ranks learn how it went."""
    contents = capture(trainer, weights_only)
    problem: str | None = None
    if trainer.is_global_zero:
        unfinished = path.with_name(f".tmp-{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                torch.save(contents, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
            unfinished.unlink(missing_ok=True)
            cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            problem = f"the checkpoint {path} cannot be written: {cause}"
    if (problem := trainer.strategy.broadcast_object(problem)) is not None:
        raise CheckpointStorage(problem)
