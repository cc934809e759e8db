"""Several loaders read together: ``CombinedLoader``, and what ``fit`` makes of a dict or list of loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from leyden.errors import MisconfigurationError, one_of
from leyden.loaders import Source, check_number

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

    def shaped(self, batches: Sequence[Any]) -> Any:
        """A batch of each loader in the shape of the collection."""
        return tree_unflatten(batches, self._shape)

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
        for batch_idx, batches in enumerate(_rows(self._flat, self.mode, set(range(len(self._flat))))):
            yield self.shaped(batches), batch_idx, 0


def _rows(loaders: list[Any], mode: str, running: set[int]) -> Iterator[Sequence[Any]]:
    """A batch of each loader at a time; all are opened at once. ``running``: those that are not at their end yet."""
    if mode == "min_size":
        return zip(*loaders, strict=False)
    return zip_longest(*loaders) if mode == "max_size" else _cycled(loaders, [iter(one) for one in loaders], running)


def _cycled(loaders: list[Any], readers: list[Iterator[Any]], running: set[int]) -> Iterator[list[Any]]:
    """Batches of all loaders to the end of the longest; each of the others begins anew where it has ended."""
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


class _Part:
    """A prepared loader among several, of which a pass may have ended and the next begun."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.source.start_epoch(epoch)
        self.ended = self._opened = False
        """Whether the epoch has read it to its end."""
        self._read = self._began = 0
        """Batches since the epoch was started or resumed: that are read, and that were when the last pass began."""

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        if self._opened:
            self.source.rewind()
            self.ended = True
        self._opened, self._began = True, self._read
        return self._counted(self.source.open())

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._read += 1
            yield batch

    def state_dict(self, batches: int) -> dict[str, Any]:
        over = batches > self._read  # from where a loader that keeps its own place would begin anew
        return {**self.source.state_dict(batches - self._began), "ended": self.ended, "over": over}

    def load_state_dict(self, state: dict[str, Any], states: list[Any]) -> None:
        mine = [states.pop(0)] if states and self.source.keeps_place else []
        self.source.load_state_dict(state, [] if state.get("over") else mine)
        self.ended = state.get("ended", False)


@dataclass(kw_only=True)
class CombinedSource(Source):
    """What of a :class:`CombinedLoader` a rank reads, each loader with a place of its own."""

    loader: CombinedLoader
    parts: list[_Part]

    def __len__(self) -> int:
        if self.loader.mode == "min_size":
            return min(map(len, self.parts), default=0)
        return max((len(part) for part in self.parts if not part.ended), default=0)

    def open(self) -> Iterator[Any]:
        running = {index for index, part in enumerate(self.parts) if not part.ended}
        return map(self.loader.shaped, _rows(self.parts, self.loader.mode, running))

    def start_epoch(self, epoch: int) -> None:
        for part in self.parts:
            part.start_epoch(epoch)

    def draw(self) -> None:
        for part in self.parts:
            part.source.draw()

    def note_place(self) -> None:
        for part in self.parts:
            part.source.note_place()

    @property
    def states(self) -> list[Any]:
        return [state for part in self.parts for state in part.source.states]

    def state_dict(self, batches: int) -> dict[str, Any]:
        return {"parts": [part.state_dict(batches) for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any], states: list[Any]) -> None:
        if state.keys() - {"batches"}:
            check_number(state, len(self.parts))
        for part, own in zip(self.parts, state.get("parts", [state] * len(self.parts)), strict=True):
            part.load_state_dict(own, states)


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
    parts = [_Part(prepare(loader)) for loader in loaders.flattened]
    return CombinedSource(loader=loaders, given=loaders.iterables, parts=parts)


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
