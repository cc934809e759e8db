"""Several processes give what one process gives on the same samples."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import jobs
from engine.programs import same
from engine.ranks import run_ranks, values
from leyden import elastic
from leyden.checkpoint import store
from leyden_contract import exit_codes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("accumulate", [pytest.param(1, id="each-batch"), pytest.param(2, id="accumulated")])
def test_two_ranks_equal_one_process_on_the_same_global_batch(accumulate: int) -> None:
    alone = jobs.train_plainly(24, 8, accumulate_grad_batches=accumulate)
    together = values(run_ranks(2, _plainly, accumulate))
    for name, value in alone.items():
        torch.testing.assert_close(together[0][name], value)
        assert torch.equal(together[0][name], together[1][name])


def _plainly(accumulate: int) -> dict[str, torch.Tensor]:
    return jobs.train_plainly(24, 4, accumulate_grad_batches=accumulate)


@pytest.mark.parametrize("streams", [pytest.param(True, id="streams"), pytest.param(False, id="data-sets")])
@pytest.mark.parametrize(
    ("counts", "options", "steps"),
    [
        pytest.param([9, 6], {}, 6, id="the-second-has-fewer"),
        pytest.param([5, 8], {"accumulate_grad_batches": 2}, 4, id="the-first-has-fewer"),
        pytest.param([5, 8], {"limit_train_batches": 2}, 4, id="both-have-more-than-the-limit"),
        pytest.param([2, 8], {"limit_train_batches": 2}, 2, id="one-has-less-than-the-limit"),
    ],
)
def test_an_epoch_ends_for_all_with_the_rank_that_has_least(
    streams: bool, counts: list[int], options: dict[str, Any], steps: int
) -> None:
    assert values(run_ranks(2, _unevenly, streams, counts, options)) == [steps, steps]


def _unevenly(streams: bool, counts: list[int], options: dict[str, Any]) -> int:
    return jobs.train_unevenly(streams, counts, **options)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_part_that_is_thawed_later_is_trained_by_all_ranks_as_one(strategy: str) -> None:
    alone = jobs.thaw(24, 8)
    together = values(run_ranks(2, _thaw, strategy))
    for name, value in alone.items():
        torch.testing.assert_close(together[0][name], value)
    assert strategy == "fsdp" or same(together[0], together[1])


def _thaw(strategy: str) -> dict[str, torch.Tensor]:
    return jobs.thaw(24, 4, strategy=strategy)


@pytest.mark.parametrize("compressed", [False, True])
def test_gradients_are_sent_as_a_hook_of_the_users_says(compressed: bool) -> None:
    plain, _ = values(run_ranks(2, _plainly, 1))
    (hooked, sent), _ = values(run_ranks(2, jobs.train_with_hook, compressed))
    assert sent and all(sent)
    assert same(hooked, plain) is not compressed
    for name, value in plain.items():
        torch.testing.assert_close(hooked[name], value, rtol=0.01, atol=0.001)


def test_a_test_after_a_fit_with_weights_that_differed() -> None:
    one, two = values(run_ranks(2, jobs.fit_then_test, 7, 2, True))
    assert same(one["first"], two["first"]) and same(one["last"], two["last"])
    assert one["mean"] == two["mean"] == 3.0


def test_a_layer_without_gradients_is_named() -> None:
    for ended in run_ranks(2, jobs.train_with_an_idle_layer, "ddp"):
        assert "does not depend on idle.weight, idle.bias: let all" in ended.error
        assert "strategy='ddp_find_unused_parameters_true'" in ended.error
    assert values(run_ranks(2, jobs.train_with_an_idle_layer, "ddp_find_unused_parameters_true")) == [4, 4]


def test_manual_optimization_averages_each_backward() -> None:
    alone = jobs.train_manually(16, 8)
    one, two = values(run_ranks(2, jobs.train_manually, 16, 4))
    for name, value in alone.items():
        torch.testing.assert_close(one[name], value)
        assert torch.equal(one[name], two[name])


@pytest.mark.parametrize("ranks", [pytest.param(2, id="two-ranks"), pytest.param(3, id="three-ranks")])
def test_metrics_are_right_with_uneven_last_batches(ranks: int) -> None:
    count = 14
    numbers = list(range(count))
    answers = values(run_ranks(ranks, jobs.measure, count, 4))
    for answer in answers:
        assert answer["accuracy"] == pytest.approx(sum(number % 3 == 0 for number in numbers) / count)
        assert answer["mean"] == answer["mean_object"] == pytest.approx(sum(numbers) / count)
        assert answer["max"] == count - 1
        assert answer["min"] == 0
        assert answer["sum"] == sum(numbers)
    assert len({answer["own"] for answer in answers}) == ranks


def test_a_rank_without_a_batch_does_not_matter() -> None:
    answers = values(run_ranks(3, jobs.measure, 2, 1))
    assert [answer["mean"] for answer in answers] == [0.5] * 3


def test_a_metric_alone_reduces_over_ranks() -> None:
    assert values(run_ranks(2, jobs.compute_directly, [[1.0, 2.0, 3.0], []])) == [2.0, 2.0]


def test_all_gather_stacks_the_ranks() -> None:
    assert values(run_ranks(2, jobs.gather, 1)) == [[2.0, 3.0]] * 2


def test_a_failing_rank_ends_the_others(tmp_path: Path) -> None:
    zero, one = run_ranks(2, jobs.disagree)
    assert "rank 1 has a problem" in one.error
    assert zero.error and "no answer" not in zero.error


@pytest.mark.parametrize("asked_rank", [pytest.param(0, id="rank-0"), pytest.param(1, id="another-rank")])
def test_ranks_agree_on_the_step_to_stop_at(tmp_path: Path, asked_rank: int) -> None:
    shared = [tmp_path / f"rank-{rank}" for rank in range(2)]
    for directory in shared:
        directory.mkdir()
    at_step = 12
    ended = run_ranks(
        2,
        jobs.train_until_asked,
        str(tmp_path / "checkpoints"),
        [str(directory) for directory in shared],
        asked_rank,
        at_step,
        env={str(rank): {"LEYDEN_RANK_DIR": str(directory)} for rank, directory in enumerate(shared)},
    )
    assert [one.exit_code for one in ended] == [exit_codes.STOPPED] * 2, [one.error for one in ended]
    steps = [struct.unpack("<q", (directory / "step").read_bytes())[0] for directory in shared]
    chosen = store.choose(tmp_path / "checkpoints")
    assert chosen.stored is not None and not chosen.skipped
    assert at_step < chosen.stored.step <= at_step + 1 + elastic.MOST_STEPS
    assert steps == [chosen.stored.step + 1] * 2  # every batch, and the checkpoint


@pytest.mark.parametrize(
    ("step_seconds", "latest"),
    [
        pytest.param(1.0, 1, id="at-the-next-step"),
        pytest.param(0.04, 3, id="within-a-tenth-of-a-second"),
        pytest.param(0.0001, 1 + elastic.MOST_STEPS, id="within-some-short-steps"),
    ],
)
def test_ranks_act_once_and_on_the_same_step(step_seconds: float, latest: int) -> None:
    asked = 17
    first, second = values(run_ranks(2, jobs.agree, step_seconds, 60, asked))
    assert first == second and len(first) == 1, (first, second)
    assert asked < first[0] <= asked + latest, first
