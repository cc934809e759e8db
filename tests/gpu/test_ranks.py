"""Processes on CUDA devices: NCCL with as many ranks as there are devices, gloo where two share the first."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.programs import same
from engine.ranks import run_ranks, values
from gpu.jobs import collect, resumable, train

SHARED = {rank: {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": rank} for rank in ("0", "1")}
"""Two nodes that are one machine: both ranks get the first device."""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_rank_of_nccl_trains_as_a_process_alone(strategy: str) -> None:
    (ranked,) = values(run_ranks(1, train, strategy, "nccl", 24, 4))
    (alone,) = values(run_ranks(1, train, "", None, 24, 4))
    assert ranked["backend"] == "nccl" and ranked["device"] == "cuda:0"
    assert ranked["weights"].keys() == alone["weights"].keys()
    for name, value in alone["weights"].items():
        torch.testing.assert_close(ranked["weights"][name], value)
    assert ranked["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}, {"precision": "16-mixed"}], ids=str)
def test_two_ranks_average_their_gradients(options: dict[str, Any]) -> None:
    two = values(run_ranks(2, partial(train, **options), "ddp", "gloo", 24, 2, env=SHARED))
    (alone,) = values(run_ranks(1, partial(train, **options), "", None, 24, 4))
    assert same(two[0]["weights"], two[1]["weights"]) and two[0]["val_loss"] == two[1]["val_loss"]
    if options.get("precision") == "16-mixed":
        return  # which first steps are left out for an overflow follows from the size of a rank's batch
    for name, value in alone["weights"].items():
        torch.testing.assert_close(two[0]["weights"][name], value, rtol=1e-2, atol=1e-3)


def test_two_ranks_resume_bit_equal(tmp_path: Path) -> None:
    whole = values(run_ranks(2, resumable, str(tmp_path / "whole"), None, env=SHARED))
    values(run_ranks(2, resumable, str(tmp_path / "killed"), 4, env=SHARED))
    resumed = values(run_ranks(2, resumable, str(tmp_path / "killed"), None, env=SHARED))
    assert all(same(one["weights"], other["weights"]) for one, other in zip(resumed, whole, strict=True))


def test_collective_calls() -> None:
    for found in values(run_ranks(2, collect, 1, env=SHARED)):
        assert found["gathered"] == [2.0, 3.0] and found["sum"] == [5.0]
        assert found["decided"] is True and found["told"] == 0
