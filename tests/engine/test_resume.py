"""A run that was killed goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import jobs
from engine.programs import same
from engine.ranks import run_ranks, values
from leyden.checkpoint import store


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
