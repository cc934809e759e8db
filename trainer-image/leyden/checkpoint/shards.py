"""Checkpoints of which every rank writes its own part.

What is sharded is left out of the checkpoint's contents, with a mark in its place; each rank's file holds its shards
under those marks. Shards are cut along the first dimension in the order of the ranks, so that any reader, at any world
size, has a whole tensor by putting them together again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from leyden.checkpoint import store
from leyden.errors import CheckpointStorage, Superseded

if TYPE_CHECKING:
    from leyden.checkpoint.places import Place
    from leyden.strategies import Strategy
    from leyden_contract.manifest import FileEntry

MARK = "leyden-shard:"


@dataclass
class Parts:
    """What the ranks have written of a checkpoint that is not there yet."""

    draft: store.Draft | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    problem: CheckpointStorage | Superseded | None = None
    """Why one of them could not."""


def split(contents: Any) -> tuple[Any, dict[str, Tensor]]:
    """Contents with marks for what is sharded, and this rank's shards by mark. A collective call."""
    from torch.distributed.tensor import DTensor, Shard

    leaves, shape = tree_flatten(contents)
    shards: dict[str, Tensor] = {}
    for index, leaf in enumerate(leaves):
        if not isinstance(leaf, DTensor):
            continue
        if leaf.placements != (Shard(0),):
            leaves[index] = leaf.full_tensor().cpu()
            continue
        leaves[index] = f"{MARK}{index}"
        # A copy, because the file would hold all of the memory that a shard is a part of.
        shards[leaves[index]] = leaf.to_local().detach().cpu().clone()
    return tree_unflatten(leaves, shape), shards


def join(contents: Any, shards: list[dict[str, Tensor]]) -> Any:
    """The contents with whole tensors again, from the shards of all ranks in their order."""

    def whole(text: str) -> Any:
        return torch.cat([shard[text] for shard in shards]) if text.startswith(MARK) else text

    return tree_map_only(str, whole, contents)


def write(strategy: Strategy, root: Place, run: str, step: int, shards: dict[str, Tensor]) -> Parts:
    """Begin a checkpoint and have every rank write its shards. A collective call; all ranks need to see ``root``."""
    begun = strategy.broadcast(_begin(root, run, step) if strategy.is_global_zero else None)
    if begun.draft is None:
        return Parts(problem=begun.problem)
    name = store.shard_name(strategy.global_rank, strategy.world_size)
    try:
        mine = Parts(begun.draft, store.add(begun.draft, {name: shards}))
    except CheckpointStorage as error:
        mine = Parts(problem=error)
    everyone: list[Parts] = strategy.gather_objects(mine)
    problem = next((parts.problem for parts in everyone if parts.problem is not None), None)
    if problem is not None and strategy.is_global_zero:
        store.abandon(begun.draft)
    return Parts(begun.draft, {name: entry for parts in everyone for name, entry in parts.files.items()}, problem)


def _begin(root: Place, run: str, step: int) -> Parts:
    try:
        store.must_write(root, run)
        return Parts(store.begin(root, step))
    except (CheckpointStorage, Superseded) as error:
        return Parts(problem=error)
