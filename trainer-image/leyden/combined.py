"""Several loaders read together: ``CombinedLoader``, and what ``fit`` makes of a dict or list of loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from leyden.errors import MisconfigurationError, one_of
from leyden.loaders import Source

MODES = ("min_size", "max_size_cycle", "max_size", "sequential")

END = object()
"""What follows the last batch; ``None`` may be one."""

Triple = tuple[Any, int, int]
"""Batch, its index, and the loader's index."""


class CombinedLoader(Iterable[Triple]):
    """Reads a collection of loaders; batches have the collection's shape.

    ``mode``: ``min_size`` ends with the shortest; ``max_size`` with the longest, ``None`` standing for batches of those
    that ended; ``max_size_cycle`` with the longest, the others beginning anew; ``sequential`` reads one after the
    other. Iterating gives ``(batch, batch_idx, dataloader_idx)``.
    """

    def __init__(self, iterables: Any, mode: str = "min_size") -> None:
        if mode not in MODES:
            raise one_of("mode", mode, MODES)
        self.iterables = iterables
        self.mode = mode
        self._flat, self._shape = _flatten(iterables)

    @property
    def flattened(self) -> list[Any]:
        """The loaders, whatever they are nested in."""
        return self._flat

    @flattened.setter
    def flattened(self, loaders: list[Any]) -> None:
        self._flat = loaders
        self.iterables = tree_unflatten(loaders, self._shape)

    def __len__(self) -> int:
        """Batches of a pass. Raises ``TypeError`` where a loader's length is unknown."""
        sizes = [len(loader) for loader in self._flat]
        if self.mode == "sequential":
            return sum(sizes)
        return min(sizes, default=0) if self.mode == "min_size" else max(sizes, default=0)

    def __iter__(self) -> Iterator[Triple]:
        if self.mode == "sequential":
            for index, loader in enumerate(self._flat):
                for batch_idx, batch in enumerate(loader):
                    yield batch, batch_idx, index
            return
        rows: Iterable[Sequence[Any]]
        if self.mode == "min_size":
            rows = zip(*self._flat, strict=False)
        elif self.mode == "max_size":
            rows = zip_longest(*self._flat)
        else:
            rows = _cycled(self._flat)
        for batch_idx, batches in enumerate(rows):
            yield tree_unflatten(batches, self._shape), batch_idx, 0


def _cycled(loaders: list[Any]) -> Iterator[list[Any]]:
    """Batches of all loaders to the end of the longest; each of the others begins anew where it has ended."""
    readers = [iter(loader) for loader in loaders]
    running = set(range(len(loaders)))
    while running:
        batches = []
        for index, loader in enumerate(loaders):
            batch = next(readers[index], END)
            if batch is END:
                running.discard(index)
                if not running:
                    return
                readers[index] = iter(loader)
                batch = next(readers[index], None)
            batches.append(batch)
        yield batches


@dataclass
class CombinedSource(Source):
    """A :class:`CombinedLoader` over prepared loaders. A resumed epoch reads again what it had read."""

    parts: list[Source] = field(default_factory=list)

    def start_epoch(self, epoch: int) -> None:
        for part in self.parts:
            part.start_epoch(epoch)

    def draw(self) -> None:
        for part in self.parts:
            part.draw()

    @property
    def sized(self) -> bool:
        return all(part.sized for part in self.parts)

    def state_dict(self, batches: int) -> dict[str, Any]:
        return {"orders": [list(part.batches.drawn) if part.batches is not None else [] for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any], epoch: int, batches_done: int) -> int:
        self.start_epoch(epoch)
        for part, orders in zip(self.parts, state.get("orders", []), strict=False):
            if part.batches is not None:
                part.batches.resume_orders = list(orders)
        return batches_done


class _Batches:
    """The batches of a :class:`CombinedLoader` without their indices."""

    def __init__(self, loader: CombinedLoader):
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, _, _ in self.loader)

    def __len__(self) -> int:
        return len(self.loader)


Prepare = Callable[[Any], Source]


def for_training(loaders: Any, prepare: Prepare) -> Source:
    """What ``fit`` reads: a loader, a :class:`CombinedLoader`, or a collection of loaders read to the longest."""
    if not isinstance(loaders, CombinedLoader):
        if not isinstance(loaders, dict) and not _is_collection(loaders):
            return prepare(loaders)
        loaders = CombinedLoader(loaders, "max_size_cycle")
    if loaders.mode == "sequential":
        raise MisconfigurationError(
            "fit() does not read a CombinedLoader in mode 'sequential': take 'min_size', 'max_size' or 'max_size_cycle'"
        )
    return _combined(loaders, prepare)


def for_evaluation(loaders: Any, prepare: Prepare) -> list[Source]:
    """What an evaluation reads, one loader after the other; a :class:`CombinedLoader` as its mode says."""
    if isinstance(loaders, CombinedLoader):
        if loaders.mode != "sequential":
            return [_combined(loaders, prepare)]
        loaders = loaders.flattened
    else:
        loaders = _flatten(loaders)[0]
    return [prepare(loader) for loader in loaders]


def _combined(loaders: CombinedLoader, prepare: Prepare) -> Source:
    parts = [prepare(loader) for loader in loaders.flattened]
    mine = CombinedLoader(loaders.iterables, loaders.mode)
    mine.flattened = [part.loader for part in parts]
    return CombinedSource(_Batches(mine), loaders.iterables, parts=parts)


def _flatten(loaders: Any) -> tuple[list[Any], TreeSpec]:
    """The loaders of a collection, and its shape. In a dict, lists of batches are loaders too."""
    if isinstance(loaders, dict):
        return tree_flatten(loaders, is_leaf=lambda entry: entry is not loaders and not _is_collection(entry))
    return tree_flatten(loaders, is_leaf=lambda entry: not _is_collection(entry))


def _is_collection(loaders: Any) -> bool:
    """Whether a dict or list holds loaders, or such; a list of batches is itself a loader."""
    if isinstance(loaders, dict):
        entries: Iterable[Any] = loaders.values()
    elif isinstance(loaders, Sequence) and not isinstance(loaders, (str, bytes)):
        entries = loaders
    else:
        return False
    return all(_is_collection(entry) or _is_loader(entry) for entry in entries)


def _is_loader(entry: object) -> bool:
    return hasattr(entry, "__iter__") and not isinstance(entry, (Tensor, list, tuple, dict, str, bytes))
