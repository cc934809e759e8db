"""FSDP: shards that train as the whole module does, and checkpoints that know nothing of them."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import jobs
from engine.programs import SAVING, loader, same, weights
from engine.ranks import run_ranks, values
from leyden.checkpoint import store
from leyden.errors import CheckpointStorage
from leyden.strategies import FSDPStrategy

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
    alone = jobs.train_deep(24, 8, shards="", **options)
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
    return jobs.train_deep(count, batch_size, **{"shards": "full", **options})


def test_a_search_for_the_rate_and_a_module_without_validation() -> None:
    alone = jobs.search_then_train(24, 8, shards=False)
    zero, _ = values(run_ranks(2, jobs.search_then_train, 24, 4, True))
    for name, value in alone.items():
        torch.testing.assert_close(zero[name], value)


@pytest.mark.parametrize(
    ("kind", "name"), [("swa", "StochasticWeightAveraging"), ("ema", "EMAWeightAveraging")], ids=["swa", "ema"]
)
def test_an_average_of_shards_is_refused_in_one_sentence(kind: str, name: str) -> None:
    for ended in run_ranks(2, jobs.average_shards, kind):
        assert f"{name} averages whole weights, which FSDPStrategy shards: take strategy='ddp'" in ended.error


def test_bf16_mixed() -> None:
    alone = jobs.train_deep(24, 8, shards="", precision="bf16-mixed")
    zero, _ = values(run_ranks(2, sharded, 24, 4, {"precision": "bf16-mixed"}))
    for name, value in alone["weights"].items():
        torch.testing.assert_close(zero["weights"][name], value, rtol=0.02, atol=0.02)


@pytest.fixture(scope="module")
def straight() -> dict[str, torch.Tensor]:
    """Weights of a run that was not interrupted."""
    weights: dict[str, torch.Tensor] = values(run_ranks(2, sharded, 24, 4, {"epochs": 4}))[0]["weights"]
    return weights


@pytest.mark.parametrize("kind", ["full", "sharded"])
def test_checkpoints_give_the_whole_and_resume_anywhere(
    tmp_path: Path, straight: dict[str, torch.Tensor], kind: str
) -> None:
    values(run_ranks(2, sharded, 24, 4, {"epochs": 2, "folder": str(tmp_path), "shards": kind}))
    file = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert {name: tuple(value.shape) for name, value in file["state_dict"].items()} == {
        name: tuple(value.shape) for name, value in jobs.Deep().state_dict().items()
    }
    stored = store.complete(tmp_path / "steps")[0]
    store.verify(stored)
    assert stored.manifest.module == "engine.jobs:Deep" and stored.manifest.signature is not None
    parts = ["shard-00000-of-00002.pt", "shard-00001-of-00002.pt"] if kind == "sharded" else []
    assert sorted(stored.manifest.files) == [*parts, "state.pt", "weights.pt"]
    read = store.read(stored.path)
    assert same(read["state_dict"], file["state_dict"])
    for one, other in zip(read["optimizer_states"], file["optimizer_states"], strict=True):
        assert all(same(one["state"][index], other["state"][index]) for index in range(5)), "Adam's states"
    assert same(weights(jobs.Deep.load_from_checkpoint(stored.path)), file["state_dict"])
    resumed = values(run_ranks(2, sharded, 24, 4, {"epochs": 4, "resume": str(stored.path), "shards": kind}))
    assert same(resumed[0]["weights"], straight), "to the last bit"
    alone = jobs.train_deep(24, 8, shards="", epochs=4, resume=str(stored.path))["weights"]
    for name, value in straight.items():
        torch.testing.assert_close(alone[name], value)


def test_a_shard_that_cannot_be_written_fails_the_save_and_nothing_else(tmp_path: Path) -> None:
    for ended in run_ranks(2, save_shards_on_a_full_disk, str(tmp_path)):
        assert ended.value == {"problem": "CheckpointStorage", "steps": 2}, ended.error
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(("step", ".tmp-step"))] == []


def save_shards_on_a_full_disk(folder: str) -> dict[str, Any]:
    """Only rank 1 has no room."""
    from leyden import Trainer
    from leyden.callbacks import CheckpointDirectory

    class FillsUp(jobs.Deep):
        def on_train_start(self) -> None:
            if self.global_rank == 1:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    keeper = CheckpointDirectory(folder, every_n_epochs=1)
    strategy = FSDPStrategy({torch.nn.Linear}, state_dict_type="sharded")
    trainer = Trainer(max_epochs=1, callbacks=[keeper], strategy=strategy, **SAVING)
    try:
        trainer.fit(FillsUp(), loader(16, 4))
    except CheckpointStorage as error:
        return {"problem": error.reason, "steps": trainer.global_step}
    return {"problem": "", "steps": trainer.global_step}


def test_weights_of_one_process_go_into_shards(tmp_path: Path) -> None:
    straight = jobs.train_deep(24, 8, shards="", epochs=4)["weights"]
    jobs.train_deep(24, 8, shards="", folder=str(tmp_path))
    resumed = values(run_ranks(2, sharded, 24, 4, {"epochs": 4, "resume": str(tmp_path / "one.ckpt")}))[0]["weights"]
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value)
