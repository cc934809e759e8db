"""``leyden export``: a checkpoint's module as files that answer without its code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.checkpoint import loading, store
from leyden.checkpoint.places import Place, place
from leyden.entry import load_class
from leyden.errors import MisconfigurationError, one_of
from leyden.export import export
from leyden.export.formats import FORMATS
from leyden.module import LightningModule

if TYPE_CHECKING:
    from leyden_contract.manifest import Signature, TensorSpec

SAMPLES = 2
"""Of an example that is made up."""


def run(command: str, arguments: list[str]) -> None:
    """Write one file per format."""
    parser = argparse.ArgumentParser(f"leyden {command}", description=__doc__)
    parser.add_argument("checkpoint", type=place, help="a checkpoint directory, a directory of such, or a .ckpt file")
    parser.add_argument("--model", help="module:Class; a checkpoint directory names its own")
    parser.add_argument(
        "--format", default="exported", help=f"comma-separated: {', '.join(FORMATS)} (default: exported)"
    )
    parser.add_argument("--output", type=Path, default=Path(), help="directory of the files (default: this one)")
    given = parser.parse_args(arguments)
    formats = given.format.split(",")
    for name in formats:
        if name not in FORMATS:
            raise one_of("format", name, FORMATS)
    path = loading.resolve(given.checkpoint)
    model: LightningModule = load_class(given.model or _named_by(path), LightningModule).load_from_checkpoint(path)
    sample = _sample(path) if model.example_input_array is None else None
    given.output.mkdir(parents=True, exist_ok=True)
    for name in formats:
        file = given.output / f"{path.name.removesuffix('.ckpt')}{Path(FORMATS[name].file).suffix}"
        export(model, name, sample, file)
        print(file)


def _named_by(path: Place) -> str:
    if path.is_file():
        raise MisconfigurationError(f"{path} does not say which module it is of: give --model module:Class")
    return store.inspect(path).manifest.module


def _sample(path: Place) -> dict[str, Any] | None:
    """Inputs of the signature that a checkpoint directory holds, if it does."""
    signature: Signature | None = None if path.is_file() else store.inspect(path).manifest.signature
    return {spec.name: _made_up(spec) for spec in signature.inputs} if signature is not None else None


def _made_up(spec: TensorSpec) -> Tensor:
    dtype = getattr(torch, spec.dtype)
    shape = [size or SAMPLES for size in spec.shape]
    return torch.rand(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
