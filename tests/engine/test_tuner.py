"""Learning rates and batch sizes by short runs, which leave no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader, same, weights
from leyden.errors import MisconfigurationError
from leyden.tuner import LRFinder, Tuner
from leyden.tuner.tuning import largest


@pytest.mark.parametrize(
    ("mode", "rates"),
    [("exponential", [0.01, 0.1, 10**-0.5, 1.0]), ("linear", [0.01, 0.505, 0.7525, 1.0])],
)
def test_rates_rise_to_the_largest(mode: str, rates: list[float]) -> None:
    finder = LRFinder(mode, 0.01, 1.0, 4)
    assert [finder.rate(step) for step in range(4)] == pytest.approx(rates)


def test_the_suggestion_is_where_the_loss_falls_most() -> None:
    finder = LRFinder("linear", 0.1, 1.0, 6)
    finder.results = {"lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "loss": [9.0, 8.0, 4.0, 3.5, float("nan"), 9.0]}
    assert finder.suggestion(skip_begin=0, skip_end=0) == 0.2
    assert finder.suggestion(skip_begin=5) is None


def test_a_search_leaves_no_trace() -> None:
    torch.manual_seed(1)
    module, trainer = Regression(), L.Trainer(**QUIET, max_epochs=2)
    before, generator = weights(module), torch.get_rng_state()
    found = Tuner(trainer).lr_find(module, loader(40), num_training=20, min_lr=1e-3, early_stop_threshold=None)
    assert found is not None and len(found.results["lr"]) == 20
    assert same(before, weights(module)) and torch.equal(generator, torch.get_rng_state())
    assert module.lr == module.hparams.lr == found.suggestion()
    trainer.fit(module, loader(8))
    assert trainer.global_step == 4 and trainer.optimizers[0].param_groups[0]["initial_lr"] == module.lr


def test_an_exploding_loss_ends_the_search() -> None:
    found = Tuner(L.Trainer(**QUIET)).lr_find(Regression(), loader(40), num_training=100, max_lr=1e6, update_attr=False)
    assert found is not None and len(found.results["lr"]) < 100


@pytest.mark.parametrize(
    ("limit", "halve", "found", "tried"),
    [
        (100, False, 64, [2, 4, 8, 16, 32, 64, 128]),
        (100, True, 100, [2, 4, 8, 16, 32, 64, 128, 96, 112, 104, 100, 102, 101]),
        (1, False, 1, [2, 1]),
        (10_000, False, 512, [2, 4, 8, 16, 32, 64, 128, 256, 512]),
    ],
)
def test_the_largest_that_fits(limit: int, halve: bool, found: int, tried: list[int]) -> None:
    seen: list[int] = []

    def fits(size: int) -> bool:
        seen.append(size)
        return size <= limit

    assert largest(fits, lambda size: False, 2, 25, 512, halve) == found
    assert seen == tried


def test_a_batch_of_all_samples_is_enough() -> None:
    assert largest(lambda size: True, lambda size: size >= 20, 2, 25, 512, halve=False) == 32


class Hungry(Regression):
    """Memory is enough for 20 samples."""

    def __init__(self, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        return loader(64, batch_size=self.batch_size)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if len(batch[0]) > 20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("mode", "size"), [("power", 16), ("binsearch", 19)])
def test_the_batch_size_is_set_where_it_was_found(mode: str, size: int) -> None:
    module = Hungry()
    assert Tuner(L.Trainer(**QUIET)).scale_batch_size(module, mode=mode) == size
    assert module.batch_size == module.hparams.batch_size == size


def test_other_errors_are_the_users() -> None:
    class Broken(Hungry):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("shapes do not fit")

    module = Broken(4)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Tuner(L.Trainer(**QUIET)).scale_batch_size(module)
    assert module.batch_size == 4


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda tuner: tuner.lr_find(Regression(), loader(), mode="cubic"), "mode='cubic'"),
        (lambda tuner: tuner.lr_find(Regression(), loader(), min_lr=1.0, max_lr=0.1), "min_lr, max_lr=(1.0, 0.1)"),
        (lambda tuner: tuner.lr_find(Regression(), loader(), attr_name="speed"), "model.speed, which does not exist"),
        (lambda tuner: tuner.scale_batch_size(Hungry(), mode="luck"), "mode='luck'"),
        (lambda tuner: tuner.scale_batch_size(Regression()), "has 'batch_size'"),
        (lambda tuner: tuner.scale_batch_size(Hungry(), loader()), "train_dataloaders='DataLoader'"),
    ],
)
def test_wrong_arguments_are_named(call: Any, said: str) -> None:
    with pytest.raises(MisconfigurationError) as raised:
        call(Tuner(L.Trainer(**QUIET)))
    assert said in str(raised.value)
