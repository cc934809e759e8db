"""Where loaders stand in an epoch that is left and gone on with, also by other numbers of ranks."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

import leyden as L
from engine import jobs
from engine.programs import QUIET, SAVING, Regression, loader, same, samples, weights
from leyden.callbacks import CheckpointDirectory
from leyden.combined import CombinedLoader, for_training
from leyden.errors import MisconfigurationError
from leyden.loaders import prepare
from leyden.samplers import GlobalBatches, Place
from placed import KeepsPlace, KeepsPlaceAndLength

Samples = list[Any]


def read(make: Callable[[int, int], Any], parts: list[tuple[int, int]]) -> tuple[Samples, int]:
    """Read an epoch in ``parts``: by so many ranks, so many batches; the last to its end. Gives the batches of all
    ranks, and how many ranks there were at most."""
    state: dict[str, Any] = {}
    seen: Samples = []
    for number, (ranks, batches) in enumerate(parts):
        sources = []
        for rank in range(ranks):
            place = Place(rank, ranks, pad=True)
            source = for_training(make(rank, ranks), lambda loader, place=place: prepare(loader, place))
            source.start_epoch(0)
            source.load_state_dict(state, [])
            sources.append(source)
        left = min(len(source) for source in sources)
        count = min(batches, left) if number + 1 < len(parts) else left
        readers = [source.open() for source in sources]
        seen += [read_as(rank, reader) for _ in range(count) for rank, reader in enumerate(readers)]
        state = sources[0].state_dict(count)
    return seen, max(ranks for ranks, _ in parts)


def read_as(rank: int, reader: Iterator[Any]) -> Any:
    """The next batch in a process whose generators are not those of the others."""
    random.seed(rank)
    numpy.random.seed(rank)
    return next(reader)


def drawn_parts(lots: random.Random) -> list[tuple[int, int]]:
    return [(lots.randint(1, 4), lots.randint(0, 4)) for _ in range(lots.randint(2, 4))]


def counted(batches: Samples) -> Counter[int]:
    return Counter(sample for batch in batches for sample in batch.tolist())


@pytest.mark.parametrize("number", range(100))
def test_each_sample_comes_once_whatever_the_ranks(number: int) -> None:
    lots = random.Random(number)
    count, size, drop_last = lots.randint(4, 40), lots.randint(1, 4), lots.random() < 0.3

    def make(rank: int, ranks: int) -> Any:
        return DataLoader(range(count), size, shuffle=number % 2 == 1, drop_last=drop_last)  # type: ignore[arg-type]

    parts = drawn_parts(lots)
    seen, ranks = read(make, parts)
    times = counted(seen)
    if drop_last:
        assert set(times.values()) <= {1} and len(times) > count - size * ranks, (parts, times)
    else:
        assert len(times) == count and sum(times.values()) - count < ranks, (parts, times)


class Mixed(Sampler[int]):
    """An order that Python's and NumPy's generators draw."""

    def __init__(self, count: int) -> None:
        self.numbers = list(range(count))

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        order = random.sample(self.numbers, len(self))
        return iter([order[index] for index in numpy.random.permutation(len(order))])


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_draw_one_order_from_whatever_generator(ranks: int) -> None:
    seen, _ = read(lambda rank, ranks: DataLoader(range(12), sampler=Mixed(12)), [(ranks, 2), (1, 0)])  # type: ignore[arg-type]
    assert sorted(counted(seen).elements()) == list(range(12))


class Buckets(BatchSampler):
    """Batches of neighbours, in any order."""

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(super().__iter__())
        return (batches[index] for index in torch.randperm(len(batches)).tolist())


@pytest.mark.parametrize("number", range(40))
def test_batches_of_ones_own_stay_whole_and_come_once(number: int) -> None:
    lots = random.Random(number)
    count, size = lots.randint(4, 40), lots.randint(1, 4)

    def make(rank: int, ranks: int) -> Any:
        return DataLoader(range(count), batch_sampler=Buckets(SequentialSampler(range(count)), size, False))  # type: ignore[arg-type]

    parts = drawn_parts(lots)
    seen, ranks = read(make, parts)
    times = Counter(tuple(batch.tolist()) for batch in seen)
    assert set(times) == {tuple(range(first, min(first + size, count))) for first in range(0, count, size)}
    assert sum(times.values()) - len(times) < ranks, (parts, times)


@pytest.mark.parametrize("number", range(20))
def test_a_distributed_sampler_of_ones_own_goes_on_by_another_number(number: int) -> None:
    lots = random.Random(number)
    count = 12 * lots.randint(2, 4)

    def make(rank: int, ranks: int) -> Any:
        return DataLoader(range(count), sampler=DistributedSampler(range(count), ranks, rank))  # type: ignore[arg-type]

    parts = drawn_parts(lots)
    seen, _ = read(make, parts)
    times = counted(seen)
    assert len(times) == count and sum(times.values()) - count < sum(ranks for ranks, _ in parts), (parts, times)


def test_batches_of_ones_own_without_an_end_are_not_shared_out() -> None:
    class Endless(Buckets):
        def __len__(self) -> int:
            raise TypeError

    endless = DataLoader(range(4), batch_sampler=Endless(SequentialSampler(range(4)), 2, False))  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationError, match=r"Endless.*one with a length, or use_distributed_sampler=False"):
        prepare(endless, Place(0, 2))
    assert not prepare(endless, Place()).sized


class Shard(IterableDataset[int]):
    """A rank's share of a stream."""

    def __init__(self, count: int, rank: int, ranks: int) -> None:
        self.samples = range(rank, count, ranks)

    def __iter__(self) -> Iterator[int]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)


@pytest.mark.parametrize("number", range(40))
def test_a_stream_that_shards_itself_leaves_no_sample_out(number: int) -> None:
    lots = random.Random(number)
    count = 12 * lots.randint(2, 4)
    parts = drawn_parts(lots)
    seen, _ = read(lambda rank, ranks: DataLoader(Shard(count, rank, ranks), batch_size=None), parts)
    assert set(map(int, seen)) == set(range(count)), parts
    assert len(seen) - count < sum(ranks for ranks, _ in parts), (parts, seen)


@pytest.mark.parametrize("mode", ["max_size_cycle", "min_size", "max_size"])
@pytest.mark.parametrize("number", range(40))
def test_several_loaders_go_on_each_where_it_was(mode: str, number: int) -> None:
    lots = random.Random(number)
    counts = {"long": lots.randint(20, 40), "short": lots.randint(3, 12)}

    def make(rank: int, ranks: int) -> Any:
        shuffled = {name: DataLoader(range(count), 2, shuffle=True) for name, count in counts.items()}  # type: ignore[arg-type]
        return CombinedLoader(shuffled, mode)

    parts = drawn_parts(lots)
    seen, ranks = read(make, parts)
    times = {name: counted([batch[name] for batch in seen if batch[name] is not None]) for name in counts}
    ends = "short" if mode == "min_size" else "long"
    assert len(times[ends]) == counts[ends] and sum(times[ends].values()) - counts[ends] < ranks, (parts, times)
    if mode == "max_size":
        assert len(times["short"]) == counts["short"] and max(times["short"].values()) <= ranks, (parts, times)
    if mode == "max_size_cycle":  # pass by pass, but for what fills up the last batch of one
        most, least = max(times["short"].values()), min(times["short"].values())
        passes = sum(times["short"].values()) / counts["short"]
        assert len(times["short"]) == counts["short"] and most - least <= 1 + passes * (ranks - 1), (parts, times)


class Shuffled(IterableDataset[Any]):
    """A stream in an order that is drawn when it begins."""

    def __iter__(self) -> Iterator[Any]:
        data = samples(20)
        return (data[index] for index in torch.randperm(len(data)).tolist())


def own_batches() -> DataLoader[Any]:
    return DataLoader(samples(20), batch_sampler=Buckets(RandomSampler(range(20)), 4, False))


def own_generator() -> DataLoader[Any]:
    inner = RandomSampler(range(20), generator=torch.Generator().manual_seed(5))
    return DataLoader(samples(20), batch_sampler=Buckets(inner, 4, False))


def seeded_by_itself() -> DataLoader[Any]:
    return loader(20, 4, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("every", [1, None])
@pytest.mark.parametrize("killed_after", [3, 5, 8])
@pytest.mark.parametrize("make", [lambda: DataLoader(Shuffled(), 4), own_batches, own_generator, seeded_by_itself])
def test_an_order_that_is_drawn_elsewhere_goes_on(
    tmp_path: Path, make: Callable[[], Any], killed_after: int, every: int | None
) -> None:
    whole = trained(tmp_path / "whole", make(), every=every)
    trained(tmp_path / "broken", make(), killed_after=killed_after, every=every)
    assert same(trained(tmp_path / "broken", make(), every=every), whole)


class Restarting(KeepsPlace):
    """At its end it begins anew, also where that is the place that it is given; torchdata's ``nodes.Loader`` does."""

    def __iter__(self) -> Iterator[Any]:
        self.position %= len(self.batches)
        yield from super().__iter__()
        self.position = len(self.batches)


class OfTwo(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch["stream"], batch_idx) + super().training_step(batch["other"], batch_idx)


def trained(
    directory: Path,
    stream: Any,
    among_others: bool = False,
    killed_after: int | None = None,
    every: int | None = 1,
) -> Any:
    torch.manual_seed(3)
    loaders = {"stream": stream, "other": loader(9, 4)} if among_others else stream
    module = (OfTwo if among_others else Regression)()
    callbacks = [CheckpointDirectory(directory, every_n_steps=every)]
    callbacks += [jobs.KillAfter(killed_after)] if killed_after else []
    trainer = L.Trainer(**SAVING, max_epochs=2, callbacks=callbacks)
    with contextlib.suppress(jobs.Killed):
        trainer.fit(module, loaders)
    return weights(module)


@pytest.mark.parametrize("killed_after", [3, 5, 8])
@pytest.mark.parametrize("among_others", [False, True])
@pytest.mark.parametrize("kind", [KeepsPlace, KeepsPlaceAndLength, Restarting])
def test_a_loader_with_a_state_of_its_own_reads_nothing_twice(
    tmp_path: Path, kind: type[KeepsPlace], among_others: bool, killed_after: int
) -> None:
    batches = list(loader(20, 4, shuffle=False))
    whole = trained(tmp_path / "whole", kind(batches), among_others)
    trained(tmp_path / "broken", kind(batches), among_others, killed_after)
    stream = kind(batches)
    resumed = trained(tmp_path / "broken", stream, among_others)
    assert same(resumed, whole)
    assert stream.given == 10 - killed_after


class Saving(L.Callback):
    """Saves at one of its calls, amid the run."""

    def __init__(self, path: Path, hook: str, call: int) -> None:
        self.path, self.calls_left = path, call
        setattr(self, hook, self.save)

    def save(self, trainer: L.Trainer, *args: Any) -> None:
        self.calls_left -= 1
        if not self.calls_left:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(
    "hook, call, left", [("on_train_batch_start", 5, 6), ("on_train_epoch_start", 2, 5), ("on_train_batch_end", 5, 5)]
)
def test_a_file_of_any_moment_leaves_no_batch_out(tmp_path: Path, hook: str, call: int, left: int) -> None:
    def seen(*callbacks: L.Callback, ckpt_path: Path | None = None) -> list[list[int]]:
        torch.manual_seed(3)
        module = Regression()
        L.Trainer(**QUIET, max_epochs=2, callbacks=list(callbacks)).fit(
            module, DataLoader(Shuffled(), 4), ckpt_path=ckpt_path
        )
        return module.seen

    whole = seen(Saving(tmp_path / "a.ckpt", hook, call))
    assert len(whole) == 10 and seen(ckpt_path=tmp_path / "a.ckpt") == whole[-left:]


def test_another_number_of_loaders_is_refused(tmp_path: Path) -> None:
    batches = list(loader(20, 4))
    trained(tmp_path, KeepsPlaceAndLength(batches), among_others=True, killed_after=3)
    with pytest.raises(MisconfigurationError, match=r"number of training loaders.*2, of which the checkpoint holds"):
        trained(tmp_path, KeepsPlaceAndLength(batches))
    trained(tmp_path / "one", loader(20, 4), killed_after=3)
    with pytest.raises(MisconfigurationError, match=r"number of training loaders.*1, of which the checkpoint holds"):
        trained(tmp_path / "one", KeepsPlaceAndLength(batches), among_others=True)


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_order_of_a_data_set_takes_no_memory(world_size: int) -> None:
    batches = GlobalBatches(SequentialSampler(range(1_000_000)), 4, False, Place(0, world_size))
    tracemalloc.start()
    first = next(iter(batches))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first == [0, world_size, 2 * world_size, 3 * world_size] and most < 1_000_000, f"{most} bytes"
