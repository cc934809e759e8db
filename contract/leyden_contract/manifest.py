"""The checkpoint directory: its names, and the manifest that makes it a checkpoint.

A checkpoint is a directory ``step-000000001200`` that holds ``manifest.json``. The manifest is written last, so a
directory without one is not a checkpoint, whatever else it holds.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT_VERSION: Final = 1
MANIFEST_NAME = "manifest.json"
PINNED_NAME = "pinned"
"""A file of this name in a checkpoint's directory keeps the checkpoint: whatever it holds, retention passes over it."""

STEP_DIRECTORY = re.compile(r"^step-(\d{12})$")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


ExportFormat = Literal["exported", "onnx", "torchscript"]
"""A form of ``forward`` that answers without the module's code; ``exported`` is ``torch.export``'s ``.pt2``."""


ServedFormat = Literal["checkpoint", "exported", "onnx", "torchscript"]
"""What a server loads: the module's code and the checkpoint's weights, or an export."""

ModelFormat = Literal["auto", "checkpoint", "exported", "onnx", "torchscript"]
"""What a server is asked to load; ``auto`` leaves it to what the checkpoint has."""

EXPORT_ORDER: Final[tuple[ExportFormat, ...]] = ("exported", "onnx", "torchscript")
"""What ``auto`` means, best first; without any of them it means ``checkpoint``."""


class Frozen(BaseModel):
    """A value: unknown fields are refused and nothing changes after construction."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(Frozen):
    """One file of the checkpoint, relative to its directory."""

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class TensorSpec(Frozen):
    """Shape and element type of one input or output; ``None`` in the shape is a free dimension."""

    name: str
    dtype: Literal["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    shape: tuple[int | None, ...]


class Signature(Frozen):
    """What ``forward`` takes and gives, the first dimension being the batch."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Directory(Protocol):
    """What a local path and a folder of an object store have in common."""

    @property
    def name(self) -> str: ...
    def is_dir(self) -> bool: ...
    def is_file(self) -> bool: ...
    def iterdir(self) -> Iterable[Self]: ...
    def __truediv__(self, name: str) -> Self: ...


class Manifest(Frozen):
    """``manifest.json``: everything that a reader must know before it opens another file."""

    format_version: Literal[1] = FORMAT_VERSION
    step: int = Field(ge=0, description="optimizer steps taken")
    epoch: int = Field(ge=0)
    metrics: dict[str, float] = Field(default_factory=dict, description="metrics logged when it was taken; finite")
    module: str = Field(description="import path of the LightningModule, `package.module:Class`")
    hyperparameters: dict[str, Any] = Field(default_factory=dict, description="JSON values for the module's __init__")
    signature: Signature | None = None
    files: dict[str, FileEntry] = Field(description="by name; in an object store, with a folder of their own before it")
    exports: dict[ExportFormat, str] = Field(default_factory=dict, description="which of the files is which export")
    torch_version: str
    world_size: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _exports_are_files(self) -> "Manifest":
        for name in self.exports.values():
            if name not in self.files:
                raise ValueError(f"exports: {name} is not among the files")
        return self


def step_directory(step: int) -> str:
    """Name of the directory that holds the checkpoint of ``step``."""
    return f"step-{step:012d}"


def parse_step(name: str) -> int | None:
    """The step that a directory's name stands for, or ``None`` where it is no checkpoint directory's name."""
    found = STEP_DIRECTORY.match(name)
    return int(found.group(1)) if found else None


def digest_of(manifest: bytes) -> str:
    """A checkpoint's digest: it covers the manifest, and the manifest covers every file."""
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def complete_steps(directory: Directory) -> list[int]:
    """Steps with a manifest in ``directory``, newest first. A directory that does not exist holds none."""
    if not directory.is_dir():
        return []
    steps = (parse_step(entry.name) for entry in directory.iterdir() if (entry / MANIFEST_NAME).is_file())
    return sorted((step for step in steps if step is not None), reverse=True)
