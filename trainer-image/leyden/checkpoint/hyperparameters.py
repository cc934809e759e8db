"""What a checkpoint says about the module that it is of, without reading its weights."""

from __future__ import annotations

from typing import Any

from leyden.checkpoint import loading, signature, store
from leyden.checkpoint.loading import PathLike
from leyden.checkpoint.places import place


def stored_hyperparameters(path: PathLike) -> dict[str, Any]:
    """The constructor arguments that a checkpoint directory or a ``.ckpt`` file holds, as far as JSON can."""
    found = loading.resolve(place(path))
    if not found.is_file():
        return dict(store.inspect(found).manifest.hyperparameters)
    kept = loading.read(found, map_location="meta").get("hyper_parameters", {})
    # Lightning's own command line keeps notes for itself under names that begin so.
    return signature.json_values({name: value for name, value in kept.items() if not name.startswith("_")})
