"""Callbacks that end a run in time, and those that search before it begins."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import leyden as L
from engine.programs import QUIET, Regression, loader, same, samples, weights
from leyden.callbacks import BatchSizeFinder, LearningRateFinder, SpikeDetection
from leyden.callbacks.spike import TrainingSpikeException
from leyden.errors import MisconfigurationError


class Losing(L.LightningModule):
    """Its loss follows a script."""

    def __init__(self, script: list[float]) -> None:
        super().__init__()
        self.script = script
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.weight.sum() * 0 + self.script[self.global_step % len(self.script)]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def losing(script: list[float], callback: SpikeDetection, folder: Path) -> None:
    options = {**QUIET, "max_steps": len(script), "callbacks": [callback], "default_root_dir": folder}
    L.Trainer(**options).fit(Losing(script), loader(4 * len(script)))


@pytest.mark.parametrize(
    ("script", "options", "batch"),
    [
        pytest.param([1.0, 1.1, 9.0, 1.0], {}, 2, id="a-leap"),
        pytest.param([1.0, 1.1, 2.5, 2.6], {}, None, id="less-than-rtol"),
        pytest.param([1.0, 1.1, 2.5, 1.0], {"rtol": None, "atol": 1.0}, 2, id="atol"),
        pytest.param([1.0, 0.9, 0.1, 0.0], {"mode": "max", "rtol": 0.5}, 2, id="a-fall"),
        pytest.param([9.0, 1.0, 1.0, 1.0], {"warmup": 3}, None, id="not-warm-yet"),
        pytest.param([1.0, math.nan, 1.0], {}, 1, id="nan"),
        pytest.param([math.inf, 1.0], {"warmup": 0, "rtol": math.inf}, 0, id="infinite-at-once"),
        pytest.param([1.0, 900.0, 1.0], {"warmup": 0, "rtol": math.inf}, None, id="only-what-is-not-finite"),
        pytest.param([1.0, math.nan, 1.0], {"finite_only": False}, None, id="nan-is-allowed"),
    ],
)
def test_a_spike_ends_the_run(tmp_path: Path, script: list[float], options: dict[str, Any], batch: int | None) -> None:
    callback = SpikeDetection(**options)
    if batch is None:
        losing(script, callback, tmp_path)
        assert callback.bad_batches == []
        return
    with pytest.raises(TrainingSpikeException, match=rf"^the loss is .* in batch {batch} of epoch 0, step {batch + 1}"):
        losing(script, callback, tmp_path)
    assert json.loads((tmp_path / "skip_batches.json").read_text()) == [batch - 1, batch]


def test_what_was_seen_of_losses_is_kept(tmp_path: Path) -> None:
    callback, resumed = SpikeDetection(exclude_batches_path=tmp_path / "bad"), SpikeDetection()
    losing([1.0, 1.2, 1.1], callback, tmp_path)
    resumed.load_state_dict(callback.state_dict())
    assert resumed.is_spike(5.0) and not resumed.is_spike(1.0) and resumed.last_val == pytest.approx(1.1)


class Tunable(Regression):
    def __init__(self, lr: float = 1e-7, batch_size: int = 2, limit: int = 10**9) -> None:
        super().__init__(dropout=0.2)
        self.lr, self.batch_size, self.limit = lr, batch_size, limit
        self.sizes: list[int] = []

    def train_dataloader(self) -> Any:
        return DataLoader(samples(64), self.batch_size)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.sizes.append(len(batch[0]))
        if len(batch[0]) > self.limit:
            raise RuntimeError("CUDA out of memory.")
        return super().training_step(batch, batch_idx)


def test_a_rate_is_found_before_training_and_used_in_it() -> None:
    module = Tunable()
    before = weights(module)
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            assert same(weights(module), before)
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])
            assert (trainer.global_step, pl_module.trainer) == (0, trainer)

    finder = LearningRateFinder(num_training_steps=40, early_stop_threshold=None)
    options = {**QUIET, "max_epochs": 1, "callbacks": [finder, Watch()]}
    L.Trainer(**options).fit(module)
    assert finder.optimal_lr is not None and len(finder.optimal_lr.results["lr"]) > 10
    assert rates == [finder.optimal_lr.suggestion()] == [module.lr] and module.lr > 1e-7


def test_the_search_for_a_rate_clips_gradients_as_training_does() -> None:
    clipped: list[tuple[float | None, str | None]] = []

    class Clipping(Tunable):
        def configure_gradient_clipping(self, optimizer: Any, *how: Any, **named: Any) -> None:
            clipped.append(tuple(named.values()))
            super().configure_gradient_clipping(optimizer, *how, **named)

    finder = LearningRateFinder(num_training_steps=5, early_stop_threshold=None)
    L.Trainer(**QUIET, max_steps=0, gradient_clip_val=0.5, callbacks=finder).fit(Clipping())
    assert clipped == [(0.5, None)] * 5


def test_a_batch_size_is_found_before_training_and_used_in_it() -> None:
    module, finder = Tunable(limit=16), BatchSizeFinder()
    L.Trainer(**{**QUIET, "max_epochs": 1, "callbacks": [finder]}).fit(module)
    assert finder.optimal_batch_size == module.batch_size == 16
    assert module.sizes[-4:] == [16] * 4 and 32 in module.sizes


def test_a_batch_size_for_evaluation_is_found() -> None:
    from leyden.tuner import Tuner

    class Validated(Tunable):
        def val_dataloader(self) -> Any:
            return self.train_dataloader()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if len(batch[0]) > 8:
                raise RuntimeError("out of memory")

    module = Validated()
    assert Tuner(L.Trainer(**QUIET)).scale_batch_size(module, method="validate") == module.batch_size == 8
    assert module.sizes == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SpikeDetection(mode="up"), "mode='up' is not allowed: it must be one of 'min', 'max'"),
        (lambda: SpikeDetection(window=0), "window=0 is not allowed: it must be an integer of at least 1"),
        (lambda: LearningRateFinder(mode="log"), "mode='log' is not allowed"),
        (lambda: BatchSizeFinder(margin=1.0), "margin=1.0 is not allowed"),
        (lambda: fit_with(BatchSizeFinder(), loader(8)), r"BatchSizeFinder needs a train_dataloader\(\) method"),
        (
            lambda: fit_with(LearningRateFinder(attr_name="rate"), loader(8)),
            "lr_find.* sets model.rate, which does not",
        ),
    ],
)
def test_wrong_arguments_are_named(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationError, match=said):
        make()


def fit_with(callback: L.Callback, data: Any) -> None:
    L.Trainer(**{**QUIET, "max_epochs": 1, "callbacks": [callback]}).fit(Tunable(), data)
