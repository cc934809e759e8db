"""How single-file checkpoints get to storage and back. ``Trainer(plugins=[...])`` takes another way than the default.

Checkpoint directories, which jobs resume from and services read, always go by :mod:`leyden.checkpoint.store`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from os import PathLike
from typing import TYPE_CHECKING, Any

from leyden.checkpoint import files, loading
from leyden.checkpoint.places import Place, place
from leyden.checkpoint.plain import may_be_read
from leyden.errors import bad_value

if TYPE_CHECKING:
    from leyden.trainer import Trainer

Path = str | PathLike[str]
Contents = dict[str, Any]


class CheckpointIO(ABC):
    """Writes, reads and removes files. Rank 0 writes and removes, in a thread where saves are asynchronous."""

    @abstractmethod
    def save_checkpoint(self, checkpoint: Contents, path: Path, storage_options: Any = None) -> None:
        """Write a file. ``storage_options`` come from ``trainer.save_checkpoint``."""

    @abstractmethod
    def load_checkpoint(self, path: Path, map_location: Any = None, weights_only: bool | None = None) -> Contents:
        """The contents of a file."""

    @abstractmethod
    def remove_checkpoint(self, path: Path) -> None:
        """Delete a file that a callback does not keep."""

    def teardown(self) -> None:  # noqa: B027  # most have nothing to do
        """A run ended."""


class TorchCheckpointIO(CheckpointIO):
    """The default: whole or not at all, to paths and URLs; weights and plain values are read, whatever is asked."""

    def save_checkpoint(self, checkpoint: Contents, path: Path, storage_options: Any = None) -> None:
        if storage_options is not None:
            raise bad_value("storage_options", storage_options, "None: keys and endpoint come from the environment")
        files.write(place(path), checkpoint)

    def load_checkpoint(self, path: Path, map_location: Any = None, weights_only: bool | None = None) -> Contents:
        return loading.read(path, map_location)

    def remove_checkpoint(self, path: Path) -> None:
        files.remove(place(path))


class AsyncCheckpointIO(CheckpointIO):
    """Another one behind the training's back: with it, every ModelCheckpoint is ``asynchronous``."""

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        self.checkpoint_io = checkpoint_io or TorchCheckpointIO()

    def save_checkpoint(self, checkpoint: Contents, path: Path, storage_options: Any = None) -> None:
        self.checkpoint_io.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: Path, map_location: Any = None, weights_only: bool | None = None) -> Contents:
        return self.checkpoint_io.load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: Path) -> None:
        self.checkpoint_io.remove_checkpoint(path)

    def teardown(self) -> None:
        self.checkpoint_io.teardown()


def read(trainer: Trainer, path: Place) -> Contents:
    """A checkpoint for the trainer's module, in host memory: a directory, or a file by its :class:`CheckpointIO`."""
    found, owner = loading.resolve(path), type(trainer.lightning_module)
    if not found.is_file():
        return loading.read(found, "cpu", owner)
    with may_be_read(owner):
        return trainer.strategy.checkpoint_io.load_checkpoint(str(found), map_location="cpu")
