"""Names and values of ``log``, and the samples that each rank gets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

import leyden as L
from engine.programs import QUIET, Regression, loader, samples
from leyden.callbacks import BasePredictionWriter
from leyden.errors import MisconfigurationError
from leyden.loaders import prepare
from leyden.loggers import CSVLogger, JSONLinesLogger
from leyden.metrics import Mean
from leyden.samplers import GlobalBatches, Place


class Logging(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("both", float(batch_idx), on_step=True, on_epoch=True)
        self.log("step", float(batch_idx) * 10)
        self.log("hidden", 1.0, logger=False)
        self.log("largest", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="max")
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("at_end", 7.0)


def test_names_and_values_follow_lightning(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trainer = L.Trainer(max_epochs=1, log_every_n_steps=2, **{**QUIET, "logger": logger})
    trainer.fit(Logging(), loader(18, 4))  # five batches, the last of two samples
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    mean = (0 * 4 + 1 * 4 + 2 * 4 + 3 * 4 + 4 * 2) / 18
    assert metrics["both"] == metrics["both_epoch"] == pytest.approx(mean)
    assert metrics["both_step"] == 4.0
    assert (metrics["largest"], metrics["at_end"], metrics["hidden"]) == (4.0, 7.0, 1.0)
    written = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "both_step" in written and "both_epoch" in written and "hidden" not in written


def test_several_loaders_have_their_own_names() -> None:
    class Numbered(Regression):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            super().validation_step(batch, batch_idx)

    loaders = [loader(8, shuffle=False), loader(4, shuffle=False)]
    with pytest.raises(MisconfigurationError, match=r"\(\) needs an argument dataloader_idx.* 2 loaders"):
        L.Trainer(**QUIET).validate(Regression(), loaders, verbose=False)
    with pytest.raises(MisconfigurationError, match=r"asks for dataloader_idx, but .* write dataloader_idx=0"):
        L.Trainer(**QUIET).validate(Numbered(), loaders[0], verbose=False)
    first, second = L.Trainer(**QUIET).validate(Numbered(), loaders, verbose=False)
    assert set(first) == {"val_loss/dataloader_idx_0"} and set(second) == {"val_loss/dataloader_idx_1"}


def test_another_metric_object_in_every_step_is_refused() -> None:
    class Forgets(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("mean", Mean())
            return super().training_step(batch, batch_idx)

    with pytest.raises(MisconfigurationError, match=r"log\('mean'\) was given another Mean .* attribute of the module"):
        L.Trainer(max_epochs=1, **QUIET).fit(Forgets(), loader())


class Predicting(Regression):
    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch[2].tolist()


def test_predictions_come_in_order() -> None:
    assert L.Trainer(**QUIET).predict(Predicting(), loader(6, 4, shuffle=False)) == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("own", [False, True], ids=["dropping", "of-the-programs-own"])
def test_predictions_are_of_all_samples(own: bool) -> None:
    class Own(BatchSampler):
        pass

    class Noting(BasePredictionWriter):
        indices: Any = None

        def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
            self.indices = batch_indices

    dropping = (Own if own else BatchSampler)(SequentialSampler(range(7)), 2, drop_last=True)
    writer = Noting("epoch")
    trainer = L.Trainer(**QUIET, callbacks=[writer])
    found = trainer.predict(Predicting(), DataLoader(samples(7), batch_sampler=dropping))
    assert found == [[0, 1], [2, 3], [4, 5], [6]] and writer.indices == [found]
    assert dropping.drop_last


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 7),
    ranks=st.integers(1, 4),
    pad=st.booleans(),
    cursor=st.integers(0, 60),
    shuffle=st.booleans(),
)
def test_ranks_share_what_is_left_without_loss(
    count: int, batch_size: int, ranks: int, pad: bool, cursor: int, shuffle: bool
) -> None:
    def batches(rank: int, world_size: int, start: int) -> list[list[int]]:
        data: DataLoader[Any] = DataLoader(samples(count), batch_size, shuffle=shuffle)
        source = prepare(data, Place(rank, world_size, pad))
        source.start_epoch(0)
        assert source.batches is not None
        source.batches.cursor = start
        # The order of an epoch is the seed's alone once there are several ranks.
        source.batches.resume_orders = [{"seed": 5}]
        drawn = list(source.batches)
        assert len(drawn) == len(source)
        return drawn

    start = min(cursor, count)
    order = [number for batch in batches(0, 1, 0) for number in batch]
    shares = [batches(rank, ranks, start) for rank in range(ranks)]
    given_out = [number for share in shares for batch in share for number in batch]
    assert set(given_out) == set(order[start:])
    repeated = len(given_out) - len(set(given_out))
    assert repeated <= (ranks - 1 if pad else 0)
    if pad:
        assert len({len(share) for share in shares}) == 1


def test_the_order_of_ranks_draws_from_no_generator_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a device was seeded"))
    source = prepare(DataLoader(samples(8), 2, shuffle=True), Place(0, 2))
    before = torch.get_rng_state()
    assert len(list(source.batches or ())) == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_importing_the_engine_brings_no_pydantic() -> None:
    code = "import leyden; leyden.Trainer; import sys; print([m for m in sys.modules if m.startswith('pydantic')])"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.stdout.decode().strip() == "[]", done.stderr.decode()


def test_lines_of_json_are_whole_and_have_no_nan(tmp_path: Path) -> None:
    logger = JSONLinesLogger(tmp_path, "runs")
    logger.log_hyperparams({"lr": 0.1, "net": Regression})
    logger.log_metrics({"loss": 0.5, "worst": float("inf")}, 3)
    logger.finalize("success")
    logger.log_metrics({"loss": float("nan")}, 4)
    lines = [json.loads(line) for line in (tmp_path / "runs" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["hyperparameters"]["lr"] == 0.1 and "Regression" in lines[0]["hyperparameters"]["net"]
    assert lines[1:] == [{"step": 3, "loss": 0.5, "worst": "inf"}, {"step": 4, "loss": "nan"}]


def test_steps_of_a_stream_are_as_many_as_its_limits_say() -> None:
    class Asks(Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.said = (self.trainer.estimated_stepping_batches, self.trainer.steps_left)

    stream = (batch for batch in loader(8))
    module = Asks()
    L.Trainer(**QUIET, max_epochs=1).fit(module, stream)
    assert module.said == (float("inf"), float("inf"))
    L.Trainer(**QUIET, max_epochs=3, max_steps=2).fit(module, (batch for batch in loader(8)))
    assert module.said == (2, 1)


def test_a_sampler_made_from_torchs_sequential_one_draws_as_it_does_by_itself() -> None:
    class Shuffled(SequentialSampler):
        def __iter__(self) -> Iterator[int]:
            return iter(torch.randperm(len(self)).tolist())

    sampler = Shuffled(range(50))
    torch.manual_seed(3)
    expected = [list(sampler), list(sampler)]
    torch.manual_seed(3)
    batches = GlobalBatches(sampler, 50, False, Place())
    assert [next(iter(batches)), next(iter(batches))] == expected
