"""``leyden inspect``: what a checkpoint holds, and whether its files are those that were written."""

from __future__ import annotations

import argparse
import json
from typing import Any

from torch import Tensor

from leyden.checkpoint import loading, store
from leyden.checkpoint.places import Place, place, size


def run(command: str, arguments: list[str]) -> None:
    """Print a description for people, or as JSON. Raises ``CheckpointCorrupt`` for files that were changed."""
    parser = argparse.ArgumentParser(f"leyden {command}", description=__doc__)
    parser.add_argument("checkpoint", type=place, help="a checkpoint directory, a directory of such, or a .ckpt file")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args(arguments)
    found = describe(loading.resolve(given.checkpoint))
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


def describe(path: Place) -> dict[str, Any]:
    """All that is known without the module's code, as JSON values; ``size`` in bytes."""
    contents = loading.read(path, map_location="meta")  # files of a directory are verified by that
    tensors = {name: value for name, value in contents["state_dict"].items() if isinstance(value, Tensor)}
    weights = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in tensors.items()
    }
    return {
        "path": str(path),
        "step": contents.get("global_step"),
        "epoch": contents.get("epoch"),
        "hyperparameters": loading.stored_hyperparameters(path),
        **({"size": size(path), "verified": False} if path.is_file() else _of_directory(path)),
        "keys": sorted(contents),
        "parameters": sum(value.numel() for value in tensors.values()),
        "weights": weights,
    }


def _of_directory(path: Place) -> dict[str, Any]:
    stored = store.inspect(path)
    manifest = stored.manifest.model_dump(mode="json")
    facts = {
        name: manifest[name] for name in ("module", "metrics", "signature", "torch_version", "world_size", "files")
    }
    total = sum(entry.size for entry in stored.manifest.files.values())
    return {**facts, "digest": stored.digest, "size": total, "verified": True}


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column()
    facts.add_column(overflow="fold")
    whole = (
        "each file has the SHA-256 of its manifest" if found["verified"] else "a single file has no digest to compare"
    )
    files = {name: f"{entry['size']:,} bytes" for name, entry in found.get("files", {}).items()}
    shown = {**found, "size": f"{found['size']:,} bytes", "files": files, "verified": whole, "weights": None}
    for name, value in shown.items():
        if value not in (None, {}):
            facts.add_row(name, _text(value))
    tensors = Table("weights", "shape", "dtype", box=None, pad_edge=False)
    for name, entry in found["weights"].items():
        tensors.add_row(name, " x ".join(map(str, entry["shape"])) or "-", entry["dtype"])
    Console(markup=False, highlight=False).print(facts, "", tensors, sep="\n")


def _text(value: Any) -> str:
    match value:
        case {"name": name, "dtype": dtype, "shape": shape}:
            return f"{name} {dtype} {['batch' if size is None else size for size in shape]}".replace("'", "")
        case dict():
            return "\n".join(f"{name}: {_text(item)}" for name, item in value.items())
        case list():
            return ", ".join(map(_text, value))
        case int() if not isinstance(value, bool):
            return f"{value:,}"
        case _:
            return str(value)
