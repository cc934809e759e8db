"""``manifest.json``, which makes a directory a checkpoint: see :mod:`leyden_contract.layout`."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT_VERSION: Final = 1

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
