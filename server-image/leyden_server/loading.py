"""From a path to a module that is ready to answer: choose, verify, rebuild."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from leyden import LightningModule
from leyden.checkpoint import store
from leyden.entry import load_class
from leyden.errors import LeydenError
from leyden_contract.manifest import Manifest, complete_steps, step_directory
from leyden_server.errors import BadCheckpoint, CannotServe
from leyden_server.settings import ServerSettings

CODE_DIRECTORIES = ("", "/workspace")


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint and its module in evaluation mode."""

    module: LightningModule
    manifest: Manifest
    digest: str


def load(settings: ServerSettings) -> Loaded:
    """The module of the checkpoint that the settings name.

    Raises:
        CannotServe: ``CheckpointNotFound``, ``CheckpointCorrupt``, ``DigestMismatch``, or the reason why the module
            cannot be rebuilt, such as ``ModuleNotFound``.
    """
    stored = _verified(_choose(settings), settings.digest)
    _add_code_directories()
    try:
        cls = load_class(stored.manifest.module, LightningModule)
        module = cls.load_from_checkpoint(stored.path)
    except LeydenError as error:
        raise CannotServe(error.reason, str(error)) from error
    except (ImportError, SyntaxError, RuntimeError, TypeError, ValueError) as error:
        raise CannotServe("ModuleFailed", f"{stored.manifest.module}: {type(error).__name__}: {error}") from error
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return Loaded(module, stored.manifest, stored.digest)


def _choose(settings: ServerSettings) -> Path:
    path = settings.path
    if (path / "manifest.json").is_file():
        return path
    steps = complete_steps(path)
    if settings.step is None and steps:
        return path / step_directory(steps[0])
    if settings.step is not None and settings.step in steps:
        return path / step_directory(settings.step)
    wanted = "a checkpoint" if settings.step is None else f"the checkpoint of step {settings.step}"
    have = f"it holds steps {', '.join(map(str, steps))}" if steps else "it holds none"
    raise BadCheckpoint("CheckpointNotFound", f"{path} does not hold {wanted}; {have}")


def _verified(path: Path, digest: str | None) -> store.Stored:
    try:
        stored = store.inspect(path)
        store.verify(stored)
    except LeydenError as error:
        raise BadCheckpoint(error.reason, str(error)) from error
    if digest is not None and stored.digest != digest:
        raise BadCheckpoint("DigestMismatch", f"{path.name} has digest {stored.digest} instead of {digest}")
    return stored


def _add_code_directories() -> None:
    for directory in CODE_DIRECTORIES:
        if directory not in sys.path:
            sys.path.insert(0, directory)


def use_threads(count: int) -> None:
    """Let torch use so many threads for one operator."""
    torch.set_num_threads(count)
