"""``leyden export``: a checkpoint's module as files that answer without its code."""

from __future__ import annotations

import argparse
from pathlib import Path

from leyden.checkpoint import loading, store
from leyden.entry import load_class
from leyden.errors import MisconfigurationError, one_of
from leyden.module import LightningModule

FORMATS = {"exported": ("to_exported", ".pt2"), "onnx": ("to_onnx", ".onnx"), "torchscript": ("to_torchscript", ".pt")}
"""Format -> the module's method, and the file's suffix. Names are those of InferenceService's ``format``."""


def run(command: str, arguments: list[str]) -> None:
    """Write one file per format."""
    parser = argparse.ArgumentParser(f"leyden {command}", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint directory, a directory of such, or a .ckpt file")
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
    given.output.mkdir(parents=True, exist_ok=True)
    for name in formats:
        method, suffix = FORMATS[name]
        file = given.output / f"{path.stem}{suffix}"
        getattr(model, method)(file)
        print(file)


def _named_by(path: Path) -> str:
    if path.is_file():
        raise MisconfigurationError(f"{path} does not say which module it is of: give --model module:Class")
    return store.inspect(path).manifest.module
