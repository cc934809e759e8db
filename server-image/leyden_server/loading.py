"""From a path to a ``forward`` that is ready to answer: choose, verify, and rebuild the module or read an export."""

import io
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from leyden import LightningModule
from leyden.accelerators import CUDAAccelerator
from leyden.checkpoint import store
from leyden.entry import load_class
from leyden.errors import LeydenError
from leyden.export.formats import FORMATS, Forward
from leyden.precision import CPU
from leyden_contract.layout import MANIFEST_NAME, complete_steps, step_directory
from leyden_contract.manifest import EXPORT_ORDER, ExportFormat, Manifest, ModelFormat, ServedFormat
from leyden_server.errors import BadCheckpoint, CannotServe
from leyden_server.settings import ServerSettings

log = logging.getLogger("leyden.server")
CODE_DIRECTORIES = ("", "/workspace")


HARMLESS: ExportFormat = "onnx"
"""The export that cannot run code, whoever made it."""


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint, and its module's ``forward`` in evaluation mode."""

    forward: Forward
    manifest: Manifest
    digest: str
    format: ServedFormat
    device: torch.device = CPU


def load(settings: ServerSettings) -> Loaded:
    """What the settings name.

    Raises:
        CannotServe: ``CheckpointNotFound``, ``CheckpointCorrupt``, ``DigestMismatch``, ``FormatNotFound``, or the
            reason why the module cannot be rebuilt, such as ``ModuleNotFound``.
    """
    stored = _verified(_choose(settings), settings.digest)
    chosen = choose_format(settings.format, stored.manifest.exports, trusted=settings.digest is not None)
    device = _device(chosen)
    forward = _rebuilt(stored, device) if chosen == "checkpoint" else _read(stored, chosen, device)
    log.info("step %s is served by format %s on %s", stored.step, chosen, device)
    return Loaded(forward, stored.manifest, stored.digest, chosen, device)


def _device(chosen: ServedFormat) -> torch.device:
    """The first GPU that this process sees, if the format runs on one; else the CPU. A pod sees those it asked for."""
    runs = chosen == "checkpoint" or FORMATS[chosen].on_devices
    return torch.device("cuda", 0) if runs and CUDAAccelerator.is_available() else CPU


def choose_format(asked: ModelFormat, there: Mapping[ExportFormat, str], trusted: bool) -> ServedFormat:
    """What to load. ``auto`` prefers what needs no code of the user's.

    Reading a ``.pt2`` or TorchScript file is as good as running code from it. So ``auto`` means one of them only where
    the digest comes from whoever saw the checkpoint being made (``trusted``), as the operator's does.

    Raises:
        CannotServe: ``FormatNotFound``, with the formats that there are.
    """
    if asked == "auto":
        return next((name for name in EXPORT_ORDER if name in there and (trusted or name == HARMLESS)), "checkpoint")
    if asked == "checkpoint" or asked in there:
        return asked
    have = ", ".join(["checkpoint", *there])
    raise CannotServe("FormatNotFound", f"the checkpoint has no {asked} export; its formats are: {have}")


def _read(stored: store.Stored, chosen: ExportFormat, device: torch.device) -> Forward:
    name = stored.manifest.exports[chosen]
    try:
        return FORMATS[chosen].read(io.BytesIO((stored.path / name).read_bytes()), device)
    except Exception as error:
        made = f"made by torch {stored.manifest.torch_version}, read by {torch.__version__}"
        raise CannotServe("ExportFailed", f"{name} ({made}): {type(error).__name__}: {error}") from error


def _rebuilt(stored: store.Stored, device: torch.device) -> Forward:
    _add_code_directories()
    try:
        cls = load_class(stored.manifest.module, LightningModule)
        module: LightningModule = cls.load_from_checkpoint(stored.path).to(device)
    except LeydenError as error:
        raise CannotServe(error.reason, str(error)) from error
    except (ImportError, SyntaxError, RuntimeError, TypeError, ValueError) as error:
        raise CannotServe("ModuleFailed", f"{stored.manifest.module}: {type(error).__name__}: {error}") from error
    module.freeze()
    return module


def _choose(settings: ServerSettings) -> Path:
    path = settings.path
    if (path / MANIFEST_NAME).is_file():
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
