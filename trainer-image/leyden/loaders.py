"""Data loaders over ranks and over restarts.

A loader over a map-style data set gets a batch sampler of Leyden's own, which takes the order of samples from the
user's sampler and cuts it into *global* batches: of each, a rank takes every ``world_size``-th sample. So one number,
the samples consumed, says where an epoch stands, whatever the number of ranks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from leyden import rng
from leyden.errors import bad_value


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

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool, place: Place):
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.place = place
        self.epoch = 0
        self.cursor = 0
        self.drawn: list[dict[str, Any]] = []
        """What the orders of the epoch's passes followed from, so that they can be drawn again."""
        self.given: list[list[int]] | None = None
        """Batches given in this pass, where somebody asks for them."""
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
        order, whole = self._order()[self.cursor :], self.whole
        for start in range(0, len(order), whole):
            batch = order[start : start + whole]
            if self.drop_last and len(batch) < whole:
                return
            if self.place.pad and len(batch) < self.place.world_size:
                batch = (batch * self.place.world_size)[: self.place.world_size]
            mine = batch[self.place.rank :: self.place.world_size]
            if mine:
                if self.given is not None:
                    self.given.append(mine)
                yield mine

    def _order(self) -> list[int]:
        again = bool(self.resume_orders)
        source = self.resume_orders.pop(0) if again else self._source()
        self.drawn.append(source)
        if not again and "rng" in source:
            return list(self.sampler)
        if "seed" in source and type(self.sampler) in OWN:
            return list(_seeded(self.sampler, source["seed"]))
        with rng.isolated():
            return self._draw(source)

    def _source(self) -> dict[str, Any]:
        """What the next order follows from: a number, or the generators as they are."""
        if self.place.world_size > 1:
            return {"seed": rng.global_seed() + self.epoch}
        if type(self.sampler) in (SequentialSampler, range):
            return {"seed": 0}
        generator = getattr(self.sampler, "generator", None)
        if type(self.sampler) is RandomSampler and generator is None:
            return {"seed": int(torch.empty((), dtype=torch.int64).random_().item())}  # as it draws it by itself
        return {"rng": rng.snapshot(), "generator": None if generator is None else generator.get_state()}

    def _draw(self, source: dict[str, Any]) -> list[int]:
        """The order that follows from a source of randomness."""
        if "seed" in source:
            torch.default_generator.manual_seed(source["seed"])  # torch.manual_seed would touch those of devices too
            return list(_seeded(self.sampler, source["seed"]))
        sampler = copy.copy(self.sampler)
        rng.restore(source["rng"])
        if source["generator"] is not None:  # then the sampler had one when this was recorded, which goes on
            sampler.generator.set_state(source["generator"])  # type: ignore[attr-defined]  # as that one had
        return list(sampler)

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch from its first sample."""
        self.epoch = epoch
        self.cursor = 0
        self.drawn, self.resume_orders = [], []


def _seeded(sampler: Iterable[int], seed: int) -> Iterable[int]:
    """A copy of a sampler whose own generator, if it has one, starts from a seed."""
    mine: Any = copy.copy(sampler)
    if hasattr(mine, "generator"):
        mine.generator = torch.Generator().manual_seed(seed)
    seeded: Iterable[int] = mine
    return seeded


class GlobalSamples(Sampler[int]):
    """:class:`GlobalBatches` one index at a time, for loaders that do not batch."""

    def __init__(self, batches: GlobalBatches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[int]:
        return (batch[0] for batch in self.batches)


class Watched:
    """A batch sampler of the user's own."""

    def __init__(self, batches: Any):
        self.batches = batches
        self.given: list[list[int]] | None = None
        """Batches given in this pass, where somebody asks for them."""

    def __getattr__(self, name: str) -> Any:
        if name == "batches":  # a copy in the making has none yet
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            if self.given is not None:
                self.given.append(list(batch))
            yield batch


@dataclass
class Source:
    """A loader as the loops use it, with its place in the epoch."""

    loader: Iterable[Any]
    given: Any = None
    """The loader or loaders as the user gave them."""
    batches: GlobalBatches | None = None
    """``None`` where the order is not Leyden's to keep: iterable data sets, batch samplers of the user's own."""
    watched: GlobalBatches | Watched | None = None
    """What can say which samples each batch has."""

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # asked only where `sized`

    @property
    def sized(self) -> bool:
        """Whether the number of batches is known."""
        try:
            len(self)
        except (TypeError, NotImplementedError):
            return False
        return True

    def batch_limit(self, limit: int | float | None, field: str = "") -> float:
        """Batches to take of an epoch: all, a number, or a part. Infinite where unknown.

        Raises ``MisconfigurationError``, which names the ``field``, for a part that is none or cannot be told.
        """
        total: float = len(self) if self.sized else math.inf
        if isinstance(limit, int):
            return min(limit, total)
        if limit is None or limit == 1.0:
            return total
        if limit and math.isinf(total):
            raise bad_value(field, limit, "1.0 or a number of batches, for the loader does not know how many it has")
        if 0 < total * limit < 1:
            raise bad_value(field, limit, f"a number of batches, or a part of at least one of the loader's {total:.0f}")
        return int(total * limit) if limit else 0

    def start_epoch(self, epoch: int) -> None:
        """Tell samplers which epoch begins."""
        if self.batches is not None:
            self.batches.start_epoch(epoch)
        owners = [getattr(self.loader, name, None) for name in ("sampler", "batch_sampler")]
        samplers: list[Any] = [sampler for owner in owners for sampler in (owner, getattr(owner, "sampler", None))]
        for sampler in {id(sampler): sampler for sampler in samplers if hasattr(sampler, "set_epoch")}.values():
            sampler.set_epoch(epoch)

    def draw(self) -> None:
        """Draw the random number that a DataLoader draws when it is opened."""
        if isinstance(self.loader, DataLoader):
            torch.empty((), dtype=torch.int64).random_(generator=self.loader.generator)

    def indices_of(self, batch_idx: int) -> list[int]:
        """Samples of a batch that was read since :meth:`start_epoch`, if ``watch_indices`` was called; else none."""
        given = self.watched.given if self.watched is not None else None
        return given[batch_idx] if given is not None else []

    def watch_indices(self) -> None:
        """Keep which samples each batch from now on has."""
        if self.watched is not None:
            self.watched.given = []

    def take_all(self) -> None:
        """Let no sample be left out for want of a whole batch: a prediction is of each."""
        if isinstance(self.watched, GlobalBatches):
            self.watched.drop_last = False
        elif self.watched is not None and hasattr(self.watched.batches, "drop_last"):
            self.watched.batches = copy.copy(self.watched.batches)
            self.watched.batches.drop_last = False

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Where the epoch stands after ``batches`` batches since it was started or resumed."""
        if self.batches is None:
            return {}
        consumed = self.batches.cursor + batches * self.batches.whole
        return {"samples": min(self.batches.samples, consumed), "orders": list(self.batches.drawn)}

    def load_state_dict(self, state: dict[str, Any], epoch: int, batches_done: int) -> int:
        """Go on where a :meth:`state_dict` says. Returns how many batches must be read and thrown away instead."""
        self.start_epoch(epoch)
        if self.batches is None or not state:
            return batches_done
        self.batches.cursor = state["samples"]
        self.batches.resume_orders = list(state["orders"])
        return 0


def prepare(loader: Any, place: Place, distribute: bool = True, sequential: bool = False) -> Source:
    """A user's loader (or any iterable of batches) as a :class:`Source`; the loader itself is left as it is.

    ``distribute=False`` keeps the user's own sampler in charge of ranks. ``sequential`` undoes shuffling.
    """
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise bad_value("a loader", type(loader).__qualname__, "a DataLoader or any iterable of batches")
    if not isinstance(loader, DataLoader):
        return Source(loader, loader)
    given = loader
    if rng.seeds_workers() and loader.worker_init_fn is None:
        loader = _with(loader, "worker_init_fn", partial(rng.seed_worker, rank=place.rank))
    if isinstance(loader.dataset, IterableDataset):
        return Source(loader, given)
    batched: Any = loader.batch_sampler
    if batched is not None and type(batched) is not BatchSampler:
        watched = Watched(batched)
        return Source(_with(loader, "batch_sampler", watched), given, watched=watched)
    sampler: Any = batched.sampler if batched is not None else loader.sampler
    if not hasattr(sampler, "__len__"):  # it may be endless
        return Source(loader, given)
    if isinstance(sampler, DistributedSampler) or not distribute:
        place = Place(pad=place.pad)
    if sequential and isinstance(sampler, RandomSampler):
        sampler = range(len(loader.dataset))
    if batched is None:
        batches = GlobalBatches(sampler, 1, False, place)
        return Source(_with(loader, "sampler", GlobalSamples(batches)), given, batches, batches)
    batches = GlobalBatches(sampler, batched.batch_size, batched.drop_last, place)
    return Source(_with(loader, "batch_sampler", batches), given, batches, batches)


def _with(loader: DataLoader[Any], name: str, value: Any) -> DataLoader[Any]:
    """A copy of a loader with another sampler or worker function."""
    mine = copy.copy(loader)
    # A DataLoader refuses these assignments after __init__, because its iterators would not follow; a copy has none.
    object.__setattr__(mine, name, value)
    object.__setattr__(mine, "_iterator", None)
    return mine
