"""What ``leyden predict`` does with its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.errors import MisconfigurationError, bad_value
from leyden.trainer import Trainer

SUFFIXES = (".pt", ".jsonl")


def check(output: str | None) -> None:
    """Before anything runs: whether the file can be written."""
    if output is None:
        return
    if Path(output).suffix not in SUFFIXES:
        raise bad_value("output", output, f"a file that ends in {' or '.join(SUFFIXES)}")
    if not Path(output).parent.is_dir():
        raise MisconfigurationError(f"output={output!r} is not allowed: there is no directory {Path(output).parent}")


def keep(found: list[Any], output: str | None, trainer: Trainer) -> None:
    """Write the batches of predictions to a file, or say what they are."""
    if output is None:
        trainer.print(f"{len(found)} batches of predictions, each {_shape(found[0]) if found else 'empty'}")
        trainer.print("--output FILE.pt or FILE.jsonl keeps them")
        return
    if trainer.world_size > 1:
        output = str(Path(output).with_stem(f"{Path(output).stem}-{trainer.global_rank}"))  # each has other samples
    if output.endswith(".pt"):
        torch.save(found, output)
    else:
        with Path(output).open("w") as file:
            file.writelines(f"{json.dumps(sample, default=str)}\n" for sample in _samples(found))
    print(f"predictions written to {output}")


def _samples(value: Any) -> Iterator[Any]:
    """One JSON value per sample: tensors are split along their first dimension, lists one by one."""
    if isinstance(value, Mapping):
        columns = [list(_samples(item)) for item in value.values()]
        yield from (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
    elif isinstance(value, Tensor):
        yield from value.tolist() if value.dim() else [value.item()]
    elif isinstance(value, list):
        for item in value:
            yield from _samples(item)
    else:
        yield value


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shape(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shape, value))}]"
    return type(value).__name__
