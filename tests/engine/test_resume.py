"""A run that was killed goes on as if it had not been."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine import jobs, waiting
from engine.programs import SAVING, Kept, Regression, loader, same, weights
from engine.ranks import run_ranks, values
from leyden.callbacks import CheckpointDirectory
from leyden.checkpoint import store
from leyden.errors import SIGTERMException


@pytest.mark.parametrize(
    "killed_after, options",
    [
        pytest.param(2, {}, id="in-the-middle-of-the-first-epoch"),
        pytest.param(5, {}, id="between-two-epochs"),
        pytest.param(8, {}, id="in-the-middle-of-the-second-epoch"),
        pytest.param(8, {"precision": "bf16-mixed"}, id="in-mixed-precision"),
        pytest.param(12, {"accumulate_grad_batches": 2}, id="while-accumulating"),
        pytest.param(7, {"val_check_interval": 2}, id="with-validation-inside-the-epoch"),
    ],
)
def test_the_resumed_run_ends_bit_equal(tmp_path: Path, killed_after: int, options: dict[str, Any]) -> None:
    whole = jobs.train(str(tmp_path / "whole"), **options)
    broken = jobs.train(str(tmp_path / "broken"), kill_after=killed_after, **options)
    resumed = jobs.train(str(tmp_path / "broken"), **options)
    assert broken["killed"] and not resumed["killed"]
    assert len(resumed["seen"]) < len(whole["seen"])
    assert whole["seen"][-len(resumed["seen"]) :] == resumed["seen"]
    assert same(resumed["weights"], whole["weights"])
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["steps"] == whole["steps"]


class Thawing(Regression):
    """Freezes a layer at the start of the first epoch, and trains it from the second on."""

    def on_train_epoch_start(self) -> None:
        self.network[0].requires_grad_(self.current_epoch > 0)


class Cycling(Regression):
    """Reads a short loader several times in an epoch, in another order each time."""

    def train_dataloader(self) -> Any:
        return {"long": loader(20, 4), "short": loader(9, 4)}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch["long"], batch_idx) + super().training_step(batch["short"], batch_idx)


class Drawing(Regression):
    """Draws a random number for each checkpoint; dropout draws from the same generator."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["name"] = float(torch.rand(1))


class OnSteps(Regression):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("on_steps", float(batch_idx), on_step=True)


def run(
    directory: Path,
    kind: type[Regression],
    *callbacks: L.Callback,
    every: int | None = 1,
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[Any, ...]:
    """What a run of two epochs of five batches came to, or what is left of it. A checkpoint ``every`` n steps, or each
    epoch."""
    torch.manual_seed(3)
    module, kept = kind(dropout=0.2), Kept()
    keeper = CheckpointDirectory(directory, every_n_steps=every, keep_last=100)
    options = {**SAVING, "logger": kept, "log_every_n_steps": 1, "max_epochs": 2} | options
    trainer = L.Trainer(callbacks=[keeper, *callbacks], **options)
    own = {} if kind is Cycling else {"train_dataloaders": loader(20, 4)}
    with contextlib.suppress(jobs.Killed, SIGTERMException):
        trainer.fit(module, val_dataloaders=loader(8, shuffle=False), ckpt_path=ckpt_path, **own)
    return weights(module), trainer.global_step, kept.rows


SCHEDULER = L.callbacks.GradientAccumulationScheduler({0: 2, 1: 3})


@pytest.mark.parametrize("killed_after", [4, 9])
@pytest.mark.parametrize(
    "kind, callbacks, options",
    [
        pytest.param(Thawing, [], {}, id="a-layer-frozen-in-a-hook"),
        pytest.param(Cycling, [], {}, id="a-loader-read-several-times"),
        pytest.param(Drawing, [], {}, id="a-hook-that-draws-random-numbers"),
        pytest.param(OnSteps, [], {"val_check_interval": 2}, id="metrics-on-the-steps-of-validations"),
        pytest.param(Regression, [SCHEDULER], {}, id="accumulation-that-changes-with-the-epoch"),
    ],
)
def test_what_hooks_and_programs_change_is_resumed(
    tmp_path: Path, kind: type[Regression], callbacks: list[L.Callback], options: dict[str, Any], killed_after: int
) -> None:
    whole, steps, logged = run(tmp_path / "whole", kind, *callbacks, **options)
    run(tmp_path / "broken", kind, *callbacks, jobs.KillAfter(killed_after), **options)
    resumed, steps_after, logged_after = run(tmp_path / "broken", kind, *callbacks, **options)
    assert same(resumed, whole)
    assert steps_after == steps
    assert logged_after == logged[-len(logged_after) :]


def test_what_a_hook_draws_for_the_save_that_stops_a_run_is_not_missed(tmp_path: Path) -> None:
    whole, *_ = run(tmp_path / "whole", Drawing, every=None)
    run(tmp_path / "broken", Drawing, waiting.StopAfter(3), every=None)
    assert [stored.step for stored in store.complete(tmp_path / "broken")] == [3]
    resumed, *_ = run(tmp_path / "broken", Drawing, every=None)
    assert same(resumed, whole)


@pytest.mark.parametrize("stopped_after", [pytest.param(3, id="in-an-epoch"), pytest.param(5, id="at-its-end")])
def test_gradients_that_wait_for_their_step_are_resumed(tmp_path: Path, stopped_after: int) -> None:
    whole = waiting.train_by_hand(str(tmp_path / "whole"))
    assert waiting.train_by_hand(str(tmp_path / "broken"), stopped_after)["stopped"]
    resumed = waiting.train_by_hand(str(tmp_path / "broken"))
    assert same(resumed["weights"], whole["weights"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "sharded"])
def test_shards_of_gradients_are_resumed(tmp_path: Path, kind: str) -> None:
    whole, stopped, resumed = (
        values(run_ranks(2, waiting.train_by_hand_in_shards, kind, str(tmp_path / name), after))
        for name, after in (("whole", None), ("broken", 2), ("broken", None))
    )
    assert all(rank["stopped"] for rank in stopped)
    assert same(resumed[0]["weights"], whole[0]["weights"])


@pytest.mark.parametrize(
    "saves, options",
    [
        pytest.param({"every_n_train_steps": 2}, {"val_check_interval": 2}, id="ahead-of-a-validation"),
        pytest.param({"every_n_train_steps": 5}, {}, id="ahead-of-an-epochs-end"),
        pytest.param({}, {"val_check_interval": 3, "accumulate_grad_batches": 2}, id="while-accumulating"),
    ],
)
def test_a_file_of_model_checkpoint_is_gone_on_from(
    tmp_path: Path, saves: dict[str, Any], options: dict[str, Any]
) -> None:
    saver = L.callbacks.ModelCheckpoint(tmp_path / "kept", save_top_k=-1, **saves)
    whole, steps, logged = run(tmp_path / "whole", Regression, saver, **options)
    drawn = torch.rand(1)
    file = min((tmp_path / "kept").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    resumed, steps_after, logged_after = run(tmp_path / "resumed", Regression, ckpt_path=file, **options)
    assert same(resumed, whole) and steps_after == steps
    assert logged_after == logged[-len(logged_after) :]
    assert torch.equal(torch.rand(1), drawn)


@pytest.mark.slow
def test_two_ranks_go_on_while_they_accumulate(tmp_path: Path) -> None:
    directories = (tmp_path / "whole", tmp_path / "resumed")
    whole = values(run_ranks(2, waiting.accumulate, str(directories[0])))
    files = sorted((directories[0] / "kept").iterdir())
    resumed = values(run_ranks(2, waiting.accumulate, str(directories[1]), str(files[0])))
    for name, weight in whole[0].items():  # which ranks add up in another order
        torch.testing.assert_close(resumed[0][name], weight)
    assert same(resumed[0], resumed[1])


class Satisfied(L.Callback):
    """Has enough after a number of batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop |= trainer.global_step >= self.batches


@pytest.mark.parametrize("enough", [pytest.param(7, id="in-an-epoch"), pytest.param(5, id="at-its-end")])
def test_a_run_that_was_told_to_stop_stays_over(tmp_path: Path, enough: int) -> None:
    whole, steps, _ = run(tmp_path, Regression, Satisfied(enough))
    again, steps_again, logged = run(tmp_path, Regression)
    assert steps == steps_again == enough and not logged
    assert same(again, whole)


def test_a_run_that_was_told_to_stop_goes_on_from_a_path(tmp_path: Path) -> None:
    run(tmp_path, Regression, Satisfied(7))
    trainer = L.Trainer(max_epochs=2, **SAVING)
    newest = store.complete(tmp_path)[0].path
    trainer.fit(Regression(), loader(20, 4), loader(8, shuffle=False), ckpt_path=newest)
    assert trainer.global_step == 10


@pytest.mark.parametrize(
    "averaging",
    [
        pytest.param(lambda: L.callbacks.EMAWeightAveraging(decay=0.9), id="ema"),
        pytest.param(lambda: L.callbacks.StochasticWeightAveraging(0.01, swa_epoch_start=1), id="swa"),
    ],
)
def test_a_run_that_is_over_ends_with_the_average(tmp_path: Path, averaging: Callable[[], L.Callback]) -> None:
    whole, *_ = run(tmp_path, Regression, averaging(), every=None)
    again, *_ = run(tmp_path, Regression, averaging(), every=None)
    assert same(again, whole)


def test_what_follows_a_run_that_is_over_draws_the_same(tmp_path: Path) -> None:
    run(tmp_path, Regression)
    drawn = torch.rand(3)
    run(tmp_path, Regression)
    assert torch.equal(torch.rand(3), drawn)


def test_loaders_are_reloaded_in_the_same_epochs(tmp_path: Path) -> None:
    options = {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 5}
    whole, *_ = run(tmp_path / "whole", Regression, **options)
    run(tmp_path / "broken", Regression, jobs.KillAfter(8), **options)
    resumed, *_ = run(tmp_path / "broken", Regression, **options)
    assert same(resumed, whole)


@pytest.mark.slow
def test_two_ranks_resume_bit_equal(tmp_path: Path) -> None:
    whole = values(run_ranks(2, jobs.train, str(tmp_path / "whole")))
    broken = values(run_ranks(2, jobs.train, str(tmp_path / "broken"), 3, 4))
    resumed = values(run_ranks(2, jobs.train, str(tmp_path / "broken")))
    assert all(one["killed"] for one in broken)
    for rank in range(2):
        assert same(resumed[rank]["weights"], whole[rank]["weights"])
        assert resumed[rank]["metrics"] == whole[rank]["metrics"]
        assert whole[rank]["seen"][-len(resumed[rank]["seen"]) :] == resumed[rank]["seen"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "before, after",
    [pytest.param(3, 2, id="fewer-ranks"), pytest.param(2, 3, id="more-ranks"), pytest.param(1, 2, id="from-one")],
)
def test_another_world_size_sees_each_sample_of_the_epoch_once(tmp_path: Path, before: int, after: int) -> None:
    count, batch_size, killed_after = 50, 2, 4
    shared: tuple[Any, ...] = (str(tmp_path), 1, killed_after, count, batch_size)
    broken = values(run_ranks(before, jobs.train, *shared)) if before > 1 else [jobs.train(*shared)]
    # The batch after the last checkpoint was begun and lost; nothing of it may be missing afterwards.
    done = [number for rank in broken for batch in rank["seen"][:killed_after] for number in batch]
    resumed = values(run_ranks(after, jobs.train, str(tmp_path), 1, None, count, batch_size))
    rest = [number for rank in resumed for batch in rank["seen"] for number in batch]
    assert len(done) == killed_after * batch_size * before
    assert sorted(done + rest) == list(range(count))
    assert resumed[0]["metrics"]["number"] == resumed[0]["metrics"]["by_itself"] == (count - 1) / 2


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    whole = jobs.train(str(tmp_path), epochs=1)
    written = {stored.step: stored.digest for stored in store.complete(tmp_path)}
    again = jobs.train(str(tmp_path), epochs=1)
    assert again["seen"] == []
    assert same(again["weights"], whole["weights"])
    assert {stored.step: stored.digest for stored in store.complete(tmp_path)} == written


def test_a_longer_run_goes_on_where_the_shorter_ended(tmp_path: Path) -> None:
    whole = jobs.train(str(tmp_path / "whole"), epochs=3)
    jobs.train(str(tmp_path / "parts"), epochs=1)
    rest = jobs.train(str(tmp_path / "parts"), epochs=3)
    assert same(rest["weights"], whole["weights"])


def test_a_run_cut_by_max_steps_goes_on_in_the_same_epoch(tmp_path: Path) -> None:
    whole = jobs.train(str(tmp_path / "whole"), epochs=2)
    jobs.train(str(tmp_path / "parts"), epochs=2, max_steps=3)
    rest = jobs.train(str(tmp_path / "parts"), epochs=2)
    assert rest["steps"] == whole["steps"]
    assert whole["seen"][3:] == rest["seen"]
    assert same(rest["weights"], whole["weights"])
