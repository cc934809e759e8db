"""FSDP: shards that train as the whole module does, and checkpoints that know nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import jobs
from engine.programs import same
from engine.ranks import run_ranks, values
from leyden.checkpoint import store

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="each-batch"),
        pytest.param({"accumulate_grad_batches": 2}, id="accumulated"),
        pytest.param({"gradient_clip_val": 0.1}, id="clipped-by-norm"),
    ],
)
def test_two_shards_train_as_one_process(options: dict[str, Any]) -> None:
    alone = jobs.train_deep(24, 8, shards=False, **options)
    zero, one = values(run_ranks(2, sharded, 24, 4, options))
    assert alone["held"] == 52
    assert zero["held"] + one["held"] == 52 and zero["held"] < 40, "each rank holds a part"
    assert list(zero["weights"]) == list(alone["weights"])
    for name, value in alone["weights"].items():
        torch.testing.assert_close(zero["weights"][name], value)
    # Seven samples cannot be dealt evenly, and a rank without a batch would leave the other waiting.
    assert alone["tested"] == [{"mean": 3.0}]
    assert zero["tested"] == one["tested"]


def sharded(count: int, batch_size: int, options: dict[str, Any]) -> dict[str, Any]:
    return jobs.train_deep(count, batch_size, shards=True, **options)


def test_bf16_mixed() -> None:
    alone = jobs.train_deep(24, 8, shards=False, precision="bf16-mixed")
    zero, _ = values(run_ranks(2, sharded, 24, 4, {"precision": "bf16-mixed"}))
    for name, value in alone["weights"].items():
        torch.testing.assert_close(zero["weights"][name], value, rtol=0.02, atol=0.02)


def test_checkpoints_hold_the_whole_and_resume_anywhere(tmp_path: Path) -> None:
    straight = values(run_ranks(2, sharded, 24, 4, {"epochs": 4}))[0]["weights"]
    values(run_ranks(2, sharded, 24, 4, {"epochs": 2, "folder": str(tmp_path)}))
    file = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert {name: tuple(value.shape) for name, value in file["state_dict"].items()} == {
        name: tuple(value.shape) for name, value in jobs.Deep().state_dict().items()
    }
    (stored,) = store.complete(tmp_path / "steps")[:1]
    store.verify(stored)
    assert stored.manifest.module == "engine.jobs:Deep" and stored.manifest.signature is not None
    assert same(store.read(stored.path)["state_dict"], file["state_dict"])
    for checkpoint in (tmp_path / "one.ckpt", stored.path):
        resumed = values(run_ranks(2, sharded, 24, 4, {"epochs": 4, "resume": str(checkpoint)}))[0]["weights"]
        assert same(resumed, straight), "to the last bit"
    alone = jobs.train_deep(24, 8, shards=False, epochs=4, resume=str(stored.path))["weights"]
    for name, value in straight.items():
        torch.testing.assert_close(alone[name], value)


def test_weights_of_one_process_go_into_shards(tmp_path: Path) -> None:
    straight = jobs.train_deep(24, 8, shards=False, epochs=4)["weights"]
    jobs.train_deep(24, 8, shards=False, folder=str(tmp_path))
    resumed = values(run_ranks(2, sharded, 24, 4, {"epochs": 4, "resume": str(tmp_path / "one.ckpt")}))[0]["weights"]
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value)
