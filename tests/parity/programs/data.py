"""Loaders of every kind, and data modules."""

from __future__ import annotations

import random
from collections import UserDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from parity.models import Data, Stream, Trained, Whole, batches, loader, samples
from parity.recording import Seen, different, program
from placed import KeepsPlace, KeepsPlaceAndLength


class Several(Trained):
    """Takes whatever comes and notes its shape."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.shapes = seen.values.setdefault("shapes", [])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        named = batch.items() if isinstance(batch, dict) else enumerate(batch)
        parts = [(str(name), part) for name, part in named if part is not None]
        self.shapes.append([(name, part[0].sum()) for name, part in parts])
        return sum(self.loss(part) for _, part in parts)


@program
def shuffled(seen: Seen) -> None:
    seen.trainer(max_epochs=3).fit(seen.watched(Trained()), loader(10, shuffle=True))


@program
def the_last_batch_dropped(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Trained()), loader(7, 2, drop_last=True))


@program
def a_sampler_of_the_users_own(seen: Seen) -> None:
    sampler = WeightedRandomSampler([0.1, 0.2, 0.3, 0.4] * 2, 6)
    seen.trainer().fit(seen.watched(Trained()), DataLoader(samples(8), 2, sampler=sampler))


@program
def a_batch_sampler_of_the_users_own(seen: Seen) -> None:
    class Backwards(BatchSampler):
        def __iter__(self) -> Any:
            return (list(reversed(batch)) for batch in super().__iter__())

    batches = Backwards(SequentialSampler(range(7)), 3, drop_last=False)
    seen.trainer().fit(seen.watched(Trained()), DataLoader(samples(7), batch_sampler=batches))


@different(
    "a pass draws from the sampler's generator as a plain torch loop does; Lightning's stops before the last draw"
)
def a_generator_of_the_users_own(seen: Seen) -> None:
    sampler = RandomSampler(range(8), generator=torch.Generator().manual_seed(5))
    seen.trainer().fit(seen.watched(Trained()), DataLoader(samples(8), 2, sampler=sampler))


@program
def a_list_of_batches(seen: Seen) -> None:
    batches = [(torch.ones(2, 4) * index, torch.zeros(2, 1)) for index in range(3)]
    seen.trainer().fit(seen.watched(Trained()), DataLoader(batches, batch_size=None))


@program
def an_iterable_without_a_length(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Whole()), DataLoader(Stream(7), 2), DataLoader(Stream(4), 2))


@program
def loaders_in_a_dict(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Several(seen)), {"one": loader(8), "other": loader(4)})


@program
def loaders_in_a_list(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Several(seen)), [loader(8), loader(4)])


def combined(mode: str) -> Any:
    from lightning.pytorch.utilities import CombinedLoader

    return CombinedLoader({"one": loader(8), "other": loader(4)}, mode)


@program
def loaders_to_the_shortest(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Several(seen)), combined("min_size"))


@program
def loaders_to_the_longest(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Several(seen)), combined("max_size"))


@program
def loaders_in_circles(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Several(seen)), combined("max_size_cycle"))


@program
def loaders_one_after_the_other(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            seen.values.setdefault("order", []).append((batch_idx, dataloader_idx))
            return self.loss(batch)

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), combined("sequential"))


@program
def validation_loaders_side_by_side(seen: Seen) -> None:
    class Model(Trained):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("seen", []).append((batch_idx, sorted(batch)))

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader(), combined("min_size"))


@program
def loaders_nested_in_collections(seen: Seen) -> None:
    from lightning.pytorch.utilities import CombinedLoader

    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("trained", []).append(batch)
            return self.loss(batch["one"][0]) + self.loss(batch["other"])

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            seen.values.setdefault("validated", []).append((batch_idx, dataloader_idx))

    trained = {"one": [loader(8), loader(4)], "other": loader(4)}
    for validated in ({"one": [loader(4), loader(6)], "other": loader(2)}, [[loader(4)], {"one": loader(6)}]):
        seen.trainer(max_epochs=1).fit(seen.watched(Model()), trained, validated)
    for mode in ("min_size", "max_size", "max_size_cycle", "sequential"):
        read = [list(CombinedLoader(given, mode)) for given in ({"a": [1, 2, 3], "b": range(5)}, [range(2), range(3)])]
        seen.values[mode] = [*read, list(CombinedLoader([], mode))]


@program
def a_data_module_from_data_sets(seen: Seen) -> None:
    data = pl.LightningDataModule.from_datasets(samples(8), samples(4), samples(4), samples(4), batch_size=2)
    trainer = seen.trainer(max_epochs=1)
    model = seen.watched(Whole())
    trainer.fit(model, datamodule=data)
    seen.values["test"] = trainer.test(model, datamodule=data, verbose=False)


@program
def a_data_module_with_hyperparameters(seen: Seen) -> None:
    class Sized(Data):
        def __init__(self, size: int = 8) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return loader(self.hparams["size"])

    seen.trainer(max_epochs=1).fit(seen.watched(Whole()), datamodule=seen.watched(Sized(6), "data"))


@program
def no_training_loader(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Trained()))


@program
def a_loader_gives_none_now_and_then(seen: Seen) -> None:
    given = batches(8)
    given.batches[1] = None
    seen.trainer(accumulate_grad_batches=2).fit(seen.watched(Trained()), given)


@program
def a_data_module_in_the_place_of_loaders(seen: Seen) -> None:
    data = Data()
    trainer = seen.trainer(max_epochs=1)
    model = seen.watched(Whole())
    trainer.fit(model, data)
    seen.values["validate"] = trainer.validate(model, data, verbose=False)
    seen.values["test"] = trainer.test(model, data, verbose=False)
    seen.values["predict"] = trainer.predict(model, data)


@program
def a_data_module_beside_loaders(seen: Seen) -> None:
    for sources in ({"train_dataloaders": Data(), "val_dataloaders": loader(4)}, {"train_dataloaders": loader(4)}):
        data = None if "val_dataloaders" in sources else Data()
        try:
            pl.Trainer(accelerator="cpu", logger=False).fit(Whole(), **sources, datamodule=data)
        except MisconfigurationException:
            seen.values[f"refused {len(sources)}"] = True


@program
def plain_batch_samplers_of_the_users_own(seen: Seen) -> None:
    for order in (RandomSampler(range(8)), [5, 3, 1], SubsetRandomSampler([0, 2, 4, 6, 7])):
        for drop_last in (False, True):
            given = DataLoader(samples(8), batch_sampler=BatchSampler(order, 2, drop_last))
            seen.trainer(max_epochs=1).fit(seen.watched(Whole()), given, given)


@program
def batches_of_types_of_their_own(seen: Seen) -> None:
    @dataclass
    class Batch:
        inputs: torch.Tensor

    class Moved:
        def __init__(self) -> None:
            self.inputs, self.places = torch.ones(1, 4), []

        def to(self, device: Any) -> None:
            self.places.append(str(device))

    given = [Batch(torch.ones(1, 4)), UserDict(x=torch.ones(1, 4)), defaultdict(list, x=torch.ones(1, 4)), Moved()]

    class Model(Trained):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            inputs = batch["x"] if hasattr(batch, "keys") else batch.inputs
            seen.values.setdefault("seen", []).append((type(batch).__name__, inputs.dtype is torch.float64))
            return self(inputs).sum()

    for precision in ("32-true", "64-true"):
        trainer = seen.trainer(max_epochs=1, precision=precision)
        trainer.fit(seen.watched(Model()), DataLoader(given[: 4 if precision == "32-true" else 3], batch_size=None))


@program
def workers_with_seeds(seen: Seen) -> None:
    class Drawn(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            return torch.tensor([random.random(), numpy.random.rand(), float(torch.rand(1))])

    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("drawn", []).append(batch)
            return self(torch.ones(1, 4)).sum()

    pl.seed_everything(5, workers=True)
    seen.trainer().fit(seen.watched(Model()), DataLoader(Drawn(), 2, num_workers=1))
    pl.seed_everything(5, workers=False)


@program
def loaders_that_do_not_know_their_length(seen: Seen) -> None:
    class Unknown:
        def __init__(self, error: type[Exception]) -> None:
            self.error, self.batches = error, batches(6)

        def __iter__(self) -> Any:
            return iter(self.batches)

        def __len__(self) -> int:
            raise self.error

    for error in (TypeError, NotImplementedError):
        trainer = seen.trainer(max_epochs=1)
        trainer.fit(seen.watched(Whole()), Unknown(error), Unknown(error))
        seen.values.setdefault("batches", []).append(trainer.num_training_batches)


@program
def a_loader_that_keeps_its_own_place(seen: Seen) -> None:
    placed(seen, lambda: KeepsPlaceAndLength(loader(10)))


@different("what is fetched ahead to know the last batch is not counted; Lightning leaves that batch out")
def a_loader_that_keeps_its_own_place_and_no_length(seen: Seen) -> None:
    placed(seen, lambda: KeepsPlace(loader(10)))


def placed(seen: Seen, make: Callable[[], Any]) -> None:
    class Model(Trained):
        dropout = 0.0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("read", []).append((batch_idx, float(batch[0].sum())))
            return super().training_step(batch, batch_idx)

    kept = seen.folder / "kept"
    saving = ModelCheckpoint(kept, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    options = {"max_epochs": 2, "log_every_n_steps": 50}  # a row that was due where it saved comes first with Leyden
    seen.trainer(callbacks=[saving], **options).fit(seen.watched(Model()), make())
    for path in sorted(kept.iterdir()):
        loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]["state_dict"]
        seen.values.setdefault("states", []).append([path.name, loops])
        seen.trainer(**options).fit(seen.watched(Model()), make(), ckpt_path=path)
