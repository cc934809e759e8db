"""Which samples a rank reads and in which order, over ranks and over restarts.

The order of an epoch is the user's sampler's. It is cut into *global* batches: of each, a rank takes every
``world_size``-th sample. So one number, the samples consumed, says where an epoch stands, whatever the number of ranks.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from leyden import rng


@dataclass(frozen=True)
class Place:
    """A rank's share of the samples, and whether short batches are filled up so that all ranks take as many steps."""

    rank: int = 0
    world_size: int = 1
    pad: bool = False


OWN = (RandomSampler, SequentialSampler, range)
"""Samplers whose order follows from their own generator alone, so that no other need be put aside."""


class GlobalBatches(Sampler[list[int]]):
    """The batches of one rank, from sample ``cursor`` of the epoch's global order on.

    In one process the order is drawn exactly as torch would draw it. Across ranks it follows from the seed and the
    epoch alone, as torch's ``DistributedSampler`` does it. With ``pad`` the epoch's last batch repeats at most
    ``world_size - 1`` samples, where fewer than ``world_size`` are left, so that each rank has one.
    """

    counts_samples = True

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool, place: Place):
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.place = place
        self.epoch = 0
        self.cursor = 0
        self.drawn: list[dict[str, Any]] = []
        """What the orders of the epoch's passes followed from, so that they can be drawn again."""
        self.given: deque[list[int]] | None = None
        """Batches given that nobody has looked at yet, where somebody does."""
        self.resume_orders: list[dict[str, Any]] = []
        """What the next orders follow from instead of being drawn."""

    @property
    def samples(self) -> int:
        """Number of samples in an epoch, over all ranks."""
        return len(self.sampler)  # type: ignore[arg-type]  # map-style samplers are sized

    @property
    def whole(self) -> int:
        """Number of samples in a batch of all ranks."""
        return self.batch_size * self.place.world_size

    def __len__(self) -> int:
        left, whole = max(0, self.samples - self.cursor), self.whole
        if self.drop_last:
            return left // whole
        steps, rest = divmod(left, whole)
        return steps + (rest > (0 if self.place.pad else self.place.rank))

    def __iter__(self) -> Iterator[list[int]]:
        order, whole, ranks = islice(self._order(), self.cursor, None), self.whole, self.place.world_size
        while batch := list(islice(order, whole)):
            if self.drop_last and len(batch) < whole:
                return
            if self.place.pad and len(batch) < ranks:
                batch = (batch * ranks)[:ranks]
            mine = self._joined(batch[self.place.rank :: ranks])
            if mine:
                if self.given is not None:
                    self.given.append(mine)
                yield mine

    def _joined(self, mine: list[Any]) -> list[int]:
        return mine

    def _order(self) -> Iterable[Any]:
        again = bool(self.resume_orders)
        source = self.resume_orders.pop(0) if again else self._source()
        self.drawn.append(source)
        if not again and "rng" in source:
            return self._asked()
        if "seed" in source and type(self.sampler) in OWN:
            return _seeded(self.sampler, source["seed"])
        with rng.isolated():
            return self._draw(source)

    def _asked(self) -> Iterable[Any]:
        return list(self.sampler)

    def _source(self) -> dict[str, Any]:
        """What the next order follows from: a number, or the generators as they are."""
        if self.place.world_size > 1:
            return {"seed": rng.global_seed() + self.epoch}
        if type(self.sampler) in (SequentialSampler, range):
            return {"seed": 0}
        if type(self.sampler) is RandomSampler and self.sampler.generator is None:
            return {"seed": int(torch.empty((), dtype=torch.int64).random_().item())}  # as it draws it by itself
        return record(self.sampler)

    def _draw(self, source: dict[str, Any]) -> list[Any]:
        """The order that follows from a source of randomness."""
        if "seed" in source:
            rng.seed_host(source["seed"])
            return self._listed(_seeded(self.sampler, source["seed"]))
        replay(source, self.sampler)
        return self._listed(copy.copy(self.sampler))

    def _listed(self, order: Iterable[Any]) -> list[Any]:
        return list(order)

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch from its first sample."""
        self.epoch = epoch
        self.cursor = 0
        self.drawn, self.resume_orders = [], []

    def take_all(self) -> None:
        """Leave no sample out for want of a whole batch."""
        self.drop_last = False


class WholeBatches(GlobalBatches):
    """Batches of a batch sampler of the user's own, of which a rank takes every ``world_size``-th as it is.

    One process asks for them one by one, as torch does: what comes next may depend on how training goes.
    """

    counts_samples = False

    def __init__(self, sampler: Iterable[list[int]], place: Place):
        super().__init__(sampler, 1, False, place)

    def _joined(self, mine: list[Any]) -> list[int]:
        return list(mine[0]) if mine else []

    def _asked(self) -> Iterable[Any]:
        return self.sampler

    def _listed(self, order: Iterable[Any]) -> list[Any]:
        return list(islice(order, self.samples))  # of some there are more, without an end

    def take_all(self) -> None:
        sampler: Any = copy.copy(self.sampler)
        if hasattr(sampler, "drop_last"):
            sampler.drop_last = False
            self.sampler = sampler


class GlobalSamples(Sampler[int]):
    """:class:`GlobalBatches` one index at a time, for loaders that do not batch."""

    def __init__(self, batches: GlobalBatches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[int]:
        return (batch[0] for batch in self.batches)


def record(*owners: Any) -> dict[str, Any]:
    """The generators that samplers or loaders may draw from, as they are."""
    return {"rng": rng.snapshot(), "generators": [generator.get_state() for generator in generators(*owners)]}


def replay(recorded: dict[str, Any], *owners: Any) -> None:
    """Put them back to a :func:`record`."""
    rng.restore(recorded["rng"])
    set_generators(recorded["generators"], *owners)


def set_generators(states: list[torch.Tensor], *owners: Any) -> None:
    """Put back those that the owners have for themselves."""
    for generator, state in zip(generators(*owners), states, strict=False):
        generator.set_state(state)


def generators(*owners: Any) -> list[torch.Generator]:
    """Those that the owners have for themselves, and the samplers in them."""
    holders = (one for owner in owners for one in within(owner))
    found = {id(one): one for one in (getattr(holder, "generator", None) for holder in holders) if one is not None}
    return list(found.values())


def within(owner: Any) -> list[Any]:
    """A sampler and the samplers in it, as far as anyone puts them into each other."""
    found: list[Any] = []
    while owner is not None and len(found) < 4:
        found.append(owner)
        owner = getattr(owner, "sampler", None)
    return found


def _seeded(sampler: Iterable[Any], seed: int) -> Iterable[Any]:
    """A copy of a sampler whose own generators start from a seed, if it has any."""
    mine: Any = copy.copy(sampler)
    if hasattr(mine, "generator"):
        mine.generator = torch.Generator().manual_seed(seed)
    if hasattr(mine, "sampler"):
        mine.sampler = _seeded(mine.sampler, seed)
    seeded: Iterable[Any] = mine
    return seeded
