"""Single-file checkpoints with Lightning's keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.checkpoint.capture import capture
from leyden.checkpoint.content import put
from leyden.checkpoint.places import Place, storage
from leyden.errors import CheckpointStorage
from leyden_contract.layout import PINNED_NAME

if TYPE_CHECKING:
    from leyden.trainer import Trainer


def save_file(trainer: Trainer, place: Place, weights_only: bool, storage_options: Any) -> None:
    """Write the file by the trainer's ``CheckpointIO``, and wait for it. A collective call.

    Raises ``CheckpointStorage`` on all ranks.
    """
    contents = capture(trainer, weights_only)
    problem: CheckpointStorage | None = None
    if trainer.is_global_zero:
        try:
            trainer.strategy.checkpoint_io.save_checkpoint(contents, str(place), storage_options)
        except CheckpointStorage as error:
            problem = error
    if (problem := trainer.strategy.broadcast(problem)) is not None:
        raise problem


def write(place: Place, contents: dict[str, Any]) -> None:
    """Write a file and what leads to it. Raises ``CheckpointStorage``, and then leaves what was there."""
    with storage(f"the checkpoint {place} cannot be written"):
        place.parent.mkdir(parents=True, exist_ok=True)
        put(place, contents)


def remove(place: Place) -> None:
    """Delete a file, unless one named like it with ``.pinned`` behind lies beside it."""
    with storage(f"the old checkpoint {place} cannot be removed"):
        if not (place.parent / f"{place.name}.{PINNED_NAME}").exists():
            place.unlink(missing_ok=True)


def link(place: Path, target: Path) -> None:
    """Let ``place`` be a relative symbolic link to ``target``, in one move."""
    unfinished = place.with_name(f".tmp-{place.name}")
    with storage(f"the link {place} cannot be written"):
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(target.name)
        unfinished.replace(place)
