"""Data loaders over ranks and over restarts.

A loader over a map-style data set gets a batch sampler of Leyden's own, see :mod:`leyden.samplers`. Others give again
what they had given when a run goes on, unless they know by themselves where they stand.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler
from torch.utils.data.distributed import DistributedSampler

from leyden import rng
from leyden.errors import bad_value
from leyden.samplers import (
    GlobalBatches,
    GlobalSamples,
    Place,
    WholeBatches,
    generators,
    record,
    replay,
    set_generators,
    within,
)


@runtime_checkable
class Stateful(Protocol):
    """A loader that knows by itself where it stands, as torchdata's ``StatefulDataLoader`` does."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass(kw_only=True)
class Source:
    """A loader as the loops use it, with its place in the epoch. A resumed epoch reads again what it had read, from the
    generators as they were, unless the loader knows by itself where it stands."""

    loader: Iterable[Any]
    given: Any
    """The loader or loaders as the user gave them."""
    place: Place = field(default_factory=Place)
    behind: int = 0
    """Batches of this rank that were read before the epoch was resumed."""
    _again: int = 0
    """How many batches behind us the loader gives once more."""
    _opening: dict[str, Any] | None = None
    """The generators when the epoch's batches were asked for first."""
    _generators: list[torch.Tensor] = field(default_factory=list)
    """What those of the loader's own go on from in the epoch that is resumed."""
    _noted: Any = None

    def __len__(self) -> int:
        return max(0, len(self.loader) - self.behind)  # type: ignore[arg-type]  # asked only where `sized`

    @property
    def sized(self) -> bool:
        """Whether the number of batches is known."""
        return _is_sized(self)

    @property
    def samples(self) -> int | None:
        """Of an epoch, over all ranks, where that can be told."""
        return None

    @property
    def samples_per_batch(self) -> int | None:
        """The same of a batch."""
        return None

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
        """Begin an epoch from its first batch, and tell samplers which it is."""
        self._noted = None
        self.rewind()
        owners = (getattr(self.loader, name, None) for name in ("sampler", "batch_sampler"))
        samplers = {id(sampler): sampler for owner in owners for sampler in within(owner)}
        for sampler in samplers.values():
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def rewind(self) -> None:
        """Begin with the first batch when it is opened next."""
        self.behind = self._again = 0
        self._opening, self._generators = None, []

    def open(self) -> Iterator[Any]:
        """The batches that are left of the epoch. Moves the generators where it is resumed."""
        if self._opening is not None:
            replay(self._opening, *self._owners)
        else:
            self._opening = record(*self._owners)
        batches = iter(self.loader)
        for _ in range(self._again):
            next(batches, None)
        self._again = 0
        self._restore_generators()
        return batches

    @property
    def _owners(self) -> tuple[Any, ...]:
        """Of generators that orders may follow from."""
        return (self.loader,)

    def _restore_generators(self) -> None:
        set_generators(self._generators, *self._owners)
        self._generators = []

    def draw(self) -> None:
        """Draw the random number that a DataLoader draws when it is opened."""
        if isinstance(self.loader, DataLoader):
            torch.empty((), dtype=torch.int64).random_(generator=self.loader.generator)

    # For predictions.

    def watch_indices(self) -> None:
        """Keep which samples each batch from now on has, where that can be told."""

    def next_indices(self) -> list[int]:
        """Samples of the next batch since :meth:`watch_indices`; none where they are not known."""
        return []

    def take_all(self) -> None:
        """Let no sample be left out for want of a whole batch: a prediction is of each."""

    # For checkpoints.

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Where the epoch stands after ``batches`` batches since it was started or resumed."""
        done = {"batches": self.behind + batches, "shards": self.place.world_size, "opening": self._opening}
        return done | self._own_generators()

    def _own_generators(self) -> dict[str, Any]:
        return {"generators": [generator.get_state() for generator in generators(*self._owners)]}

    def load_state_dict(self, state: dict[str, Any], states: list[Any]) -> None:
        """Go on where a :meth:`state_dict` says, in an epoch that was started. Takes its own of the :attr:`states`.

        A number of batches alone is enough. Other ranks than had read them go on behind their share of it. Raises
        ``MisconfigurationError`` where there are more or fewer loaders now.
        """
        check_number(state, 1)
        self._generators = state.get("generators", [])
        set_generators(self._generators, *self._owners)
        self._go_on(state, states)

    def _go_on(self, state: dict[str, Any], states: list[Any]) -> None:
        ranks = self.place.world_size
        self.behind = state.get("batches", 0) * state.get("shards", ranks) // ranks
        self._opening = state.get("opening")
        if self._stateful is not None and states:
            self._stateful.load_state_dict(states.pop(0))
        else:
            self._again = self.behind

    @cached_property
    def _stateful(self) -> Stateful | None:
        return self.loader if isinstance(self.loader, Stateful) else None

    @property
    def keeps_place(self) -> bool:
        """Whether the loader knows by itself where it stands."""
        return self._stateful is not None

    def note_place(self) -> None:
        """Let :attr:`states` be those of now, also when batches are fetched ahead of their turn."""
        if self._stateful is not None:
            self._noted = copy.deepcopy(self._stateful.state_dict())

    @property
    def states(self) -> list[Any]:
        """What loaders that know by themselves where they stand say of it."""
        if self._stateful is None:
            return []
        return [self._noted if self._noted is not None else self._stateful.state_dict()]


@dataclass(kw_only=True)
class OrderedSource(Source):
    """A loader over a map-style data set, whose order Leyden keeps."""

    batches: GlobalBatches

    @property
    def samples(self) -> int | None:
        return self.batches.samples if self.batches.counts_samples else None

    @property
    def samples_per_batch(self) -> int | None:
        return self.batches.whole if self.batches.counts_samples else None

    def start_epoch(self, epoch: int) -> None:
        self.batches.start_epoch(epoch)
        super().start_epoch(epoch)

    def rewind(self) -> None:
        super().rewind()
        self.batches.cursor = 0

    def open(self) -> Iterator[Any]:
        batches = iter(self.loader)
        self._restore_generators()
        return batches

    @property
    def _owners(self) -> tuple[Any, ...]:
        return (self.loader, self.batches.sampler)

    def watch_indices(self) -> None:
        self.batches.given = deque()

    def next_indices(self) -> list[int]:
        return self.batches.given.popleft() if self.batches.given else []

    def take_all(self) -> None:
        self.batches.take_all()

    @property
    def _shards(self) -> int:
        """How many ranks have an order of their own."""
        return self.place.world_size // self.batches.place.world_size

    def state_dict(self, batches: int) -> dict[str, Any]:
        consumed = self.batches.cursor + batches * self.batches.whole
        orders = self.batches.drawn[-1:] or self.batches.resume_orders  # not drawn again yet
        done = {"samples": min(self.batches.samples, consumed), "shards": self._shards, "orders": orders}
        return done | self._own_generators()

    def _go_on(self, state: dict[str, Any], states: list[Any]) -> None:
        done = state.get("samples", state.get("batches", 0) * self.batches.whole)
        shared_out = done * state.get("shards", self._shards) // self._shards
        self.batches.cursor = min(self.batches.samples, shared_out)
        self.batches.resume_orders = list(state.get("orders", ()))

    @cached_property
    def _stateful(self) -> None:
        return None  # its own state is of another order


def prepare(loader: Any, place: Place, distribute: bool = True, sequential: bool = False) -> Source:
    """A user's loader (or any iterable of batches) as a :class:`Source`; the loader itself is left as it is.

    ``distribute=False`` keeps the user's own sampler in charge of ranks. ``sequential`` undoes shuffling.
    """
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise bad_value("a loader", type(loader).__qualname__, "a DataLoader or any iterable of batches")
    if not isinstance(loader, DataLoader):
        return Source(loader=loader, given=loader, place=place)
    given = loader
    if rng.seeds_workers() and loader.worker_init_fn is None:
        loader = _with(loader, "worker_init_fn", partial(rng.seed_worker, rank=place.rank))
    if isinstance(loader.dataset, IterableDataset):
        return Source(loader=loader, given=given, place=place)
    batched: Any = loader.batch_sampler
    own = batched is not None and type(batched) is not BatchSampler
    sampler: Any = batched if own else (loader if batched is None else batched).sampler
    share = _share(sampler, place, distribute)
    if not _is_sized(sampler):  # it may be endless
        if share.world_size > 1 and own:
            allowed = "one with a length, or use_distributed_sampler=False where each rank's has batches of its own"
            raise bad_value("a batch sampler over several ranks", type(sampler).__qualname__, allowed)
        return Source(loader=loader, given=given, place=place)
    if sequential and isinstance(sampler, RandomSampler):
        sampler = range(len(loader.dataset))
    batches: GlobalBatches
    if batched is None:
        batches = GlobalBatches(sampler, 1, False, share)
        mine = _with(loader, "sampler", GlobalSamples(batches))
    else:
        drop_last = {"batch_size": batched.batch_size, "drop_last": batched.drop_last}
        batches = WholeBatches(sampler, share) if own else GlobalBatches(sampler, **drop_last, place=share)
        mine = _with(loader, "batch_sampler", batches)
    return OrderedSource(loader=mine, given=given, place=place, batches=batches)


def check_number(state: dict[str, Any], loaders: int) -> None:
    """Whether a :meth:`Source.state_dict` is of so many loaders."""
    kept = len(state.get("parts", [state]))
    if kept != loaders:
        raise bad_value("the number of training loaders", loaders, f"{kept}, of which the checkpoint holds the places")


def _share(sampler: Any, place: Place, distribute: bool) -> Place:
    """What of a sampler's order a rank reads: all of it where the sampler's is the rank's own."""
    theirs = any(isinstance(one, DistributedSampler) for one in within(sampler))
    return Place(pad=place.pad) if theirs or not distribute else place


def _is_sized(one: Any) -> bool:
    try:
        len(one)
    except (TypeError, NotImplementedError):
        return False
    return True


def _with(loader: DataLoader[Any], name: str, value: Any) -> DataLoader[Any]:
    """A copy of a loader with another sampler or worker function."""
    mine = copy.copy(loader)
    # A DataLoader refuses these assignments after __init__, because its iterators would not follow; a copy has none.
    object.__setattr__(mine, name, value)
    object.__setattr__(mine, "_iterator", None)
    return mine
