"""Saves behind the training's back, to any file system; what a failure does; and a stop by SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import leyden as L
from engine import jobs
from engine.programs import QUIET, SAVING, Regression, loader, same, weights
from engine.waiting import StopAfter
from leyden.callbacks import CheckpointDirectory, ModelCheckpoint
from leyden.checkpoint import files, store
from leyden.checkpoint.places import place
from leyden.checkpoint.staging import Staging
from leyden.errors import CheckpointMismatch, CheckpointStorage, MisconfigurationError


def test_a_staged_copy_keeps_its_values_and_what_is_shared() -> None:
    tied = torch.arange(4.0)
    staging = Staging()
    staged = staging.copy({"a": tied, "b": tied[1:], "list": [1, {"c": tied.t()}]})
    tied.zero_()
    assert staged["a"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert staged["b"].untyped_storage().data_ptr() == staged["a"].untyped_storage().data_ptr()
    again = staging.copy({"a": tied})
    assert again["a"].data_ptr() == staged["a"].data_ptr(), "the buffers are used again"


def test_buffers_that_no_longer_fit_are_made_anew() -> None:
    staging = Staging()
    staging.copy([torch.zeros(2), torch.zeros(3), torch.zeros(4)])
    for sizes in ([3, 2], [3, 2, 5, 1], [], [1]):
        given = [torch.full((size,), float(size + place)) for place, size in enumerate(sizes)]
        assert all(map(torch.equal, staging.copy(given), given))


@pytest.mark.parametrize("pinned", [False, True])
def test_pinned_buffers_go_back_to_the_system(pinned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a device no memory can be pinned: what torch is asked for is all that can be seen here."""
    asked: list[bool] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: pinned)
    monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: asked.append(True))
    staging = Staging()
    first = staging.copy([torch.ones(2)])
    staging.close()
    assert asked == [True] * pinned
    assert staging.copy([torch.zeros(2)])[0].tolist() == [0.0, 0.0] and first[0].tolist() == [1.0, 1.0]


def test_a_copy_that_fails_leaves_nothing_for_the_next() -> None:
    class Refuses:
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            raise ValueError("not to be copied")

    tensor, staging = torch.ones(2), Staging()
    with pytest.raises(ValueError, match="not to be copied"):
        staging.copy([tensor, Refuses()])
    tensor.fill_(2)
    assert staging.copy([tensor])[0].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("saver", [CheckpointDirectory, ModelCheckpoint])
def test_hooks_may_keep_what_is_saved(saver: Any, tmp_path: Path) -> None:
    kept: list[dict[str, Any]] = []

    class Keeping(Regression):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            kept.append(checkpoint)

    L.Trainer(max_epochs=2, callbacks=[saver(tmp_path, asynchronous=True)], **SAVING).fit(Keeping(), loader())
    assert len(kept) >= 2 and all({"state_dict", "optimizer_states"} <= checkpoint.keys() for checkpoint in kept)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_run_in_another_file_system_resumes_bit_equal(tmp_path: Path, asynchronous: bool) -> None:
    url = f"memory://run-{asynchronous}-{os.getpid()}"
    whole = jobs.train(str(tmp_path))
    jobs.train(url, kill_after=7)
    resumed = jobs.train(url)
    assert same(resumed["weights"], whole["weights"])
    assert {stored.step for stored in store.complete(place(url))} == set(range(1, 16))
    for stored in store.complete(place(url)):
        store.verify(stored)


def test_a_single_file_by_url_is_saved_loaded_and_found_as_the_last() -> None:
    url = f"memory://files-{os.getpid()}"
    module = Regression()
    saver = ModelCheckpoint(url, save_last=True)
    L.Trainer(max_epochs=1, callbacks=[saver], **SAVING).fit(module, loader())
    assert saver.last_model_path == f"{url}/last.ckpt"
    assert same(weights(Regression.load_from_checkpoint(saver.best_model_path)), weights(module))
    longer = L.Trainer(max_epochs=2, callbacks=[ModelCheckpoint(url, save_last=True)], **SAVING)
    longer.fit(Regression(), loader(), ckpt_path="last")
    assert longer.global_step == 10


def test_last_without_a_file_starts_afresh_with_a_warning(tmp_path: Path) -> None:
    trainer = L.Trainer(max_epochs=1, callbacks=[ModelCheckpoint(tmp_path)], **SAVING)
    with pytest.warns(UserWarning, match="no last checkpoint yet"):
        trainer.fit(Regression(), loader(), ckpt_path="last")
    assert trainer.global_step == 5


def test_an_unknown_protocol_is_one_sentence() -> None:
    with pytest.raises(MisconfigurationError, match="nosuch://x cannot be reached: Protocol not known"):
        CheckpointDirectory("nosuch://x")


def test_pinned_checkpoints_outlive_retention(tmp_path: Path) -> None:
    class Pin(L.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                (tmp_path / "step-000000000010" / "pinned").write_text("a service")

    keeper = CheckpointDirectory(tmp_path, keep_last=1, asynchronous=False)
    L.Trainer(max_epochs=5, callbacks=[keeper, Pin()], **SAVING).fit(Regression(), loader())
    assert [stored.step for stored in store.complete(tmp_path)] == [25, 10]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_what_services_use_outlives_retention_for_as_long_as_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    shared, there = tmp_path / "rank", tmp_path / "checkpoints"
    shared.mkdir()
    monkeypatch.setenv("LEYDEN_RANK_DIR", str(shared))

    def kept() -> list[int]:
        return [stored.step for stored in store.complete(there)]

    def run(epochs: int) -> None:
        keeper = CheckpointDirectory(there, keep_last=1, asynchronous=asynchronous)
        L.Trainer(max_epochs=epochs, callbacks=[keeper], **SAVING).fit(Regression(), loader())

    run(2)
    assert kept() == [10]
    (shared / "served").write_text(store.complete(there)[0].digest)
    run(4)
    assert kept() == [20, 10]
    (shared / "served").unlink()  # the next round's ranks are told a moment after they have begun
    run(5)
    assert kept() == [25, 10]
    (shared / "served").write_text("")
    run(6)
    assert kept() == [30]


def test_a_failed_save_is_one_warning_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.add

    def full(draft: store.Draft, contents: Any) -> Any:
        if draft.step in (10, 15):
            raise CheckpointStorage("no space left")
        return real(draft, contents)

    monkeypatch.setattr(store, "add", full)
    trainer = L.Trainer(max_epochs=4, callbacks=[CheckpointDirectory(tmp_path)], **SAVING)
    with pytest.warns(UserWarning, match="training goes on") as said:
        trainer.fit(Regression(), loader())
    assert len([one for one in said if "no space left" in str(one.message)]) == 1
    assert [stored.step for stored in store.complete(tmp_path)] == [20, 5]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_model_checkpoint_knows_no_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    real = files.write

    def full(target: Path, contents: dict[str, Any]) -> None:
        if contents["global_step"] == 15:
            raise CheckpointStorage("no space left")
        real(target, contents)

    monkeypatch.setattr(files, "write", full)
    saver = ModelCheckpoint(tmp_path, every_n_epochs=1, asynchronous=asynchronous)
    with pytest.warns(UserWarning, match="training goes on"), pytest.raises(CheckpointStorage, match="no space left"):
        L.Trainer(max_epochs=3, callbacks=[saver], **SAVING).fit(Regression(), loader())
    assert saver.best_model_path == str(tmp_path / "epoch=1-step=10.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=1-step=10.ckpt"]


def test_sigterm_ends_the_run_after_its_step_with_a_checkpoint(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    trainer = L.Trainer(max_epochs=3, callbacks=[CheckpointDirectory(tmp_path), StopAfter(3)], **SAVING)
    with pytest.raises(SystemExit) as ended:
        trainer.fit(Regression(), loader())
    assert ended.value.code == 75 and trainer.received_sigterm
    assert [stored.step for stored in store.complete(tmp_path)] == [3]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_was_stopped_replaces_the_last_file_of_then(tmp_path: Path) -> None:
    for stops in ([StopAfter(3)], []):
        keepers = [CheckpointDirectory(tmp_path / "directory"), ModelCheckpoint(tmp_path / "kept", save_last=True)]
        with contextlib.suppress(SystemExit):
            L.Trainer(max_epochs=2, callbacks=[*keepers, *stops], **SAVING).fit(Regression(), loader())
        assert [path.name for path in (tmp_path / "kept").glob("last*")] == ["last.ckpt"]


def test_a_stop_commits_the_directory_where_a_file_cannot_be_written(tmp_path: Path) -> None:
    class Occupied(StopAfter):
        def on_train_batch_start(self, *args: Any) -> None:
            super().on_train_batch_start(*args)
            if not self.left:
                (tmp_path / "kept").rmdir()
                (tmp_path / "kept").touch()

    keepers = [CheckpointDirectory(tmp_path / "directory"), ModelCheckpoint(tmp_path / "kept", save_last=True)]
    with pytest.raises(CheckpointStorage, match=r"kept/last\.ckpt"):
        L.Trainer(max_epochs=3, callbacks=[*keepers, Occupied(3)], **SAVING).fit(Regression(), loader())
    assert [stored.step for stored in store.complete(tmp_path / "directory")] == [3]


def test_sigterm_ends_a_run_that_takes_no_step(tmp_path: Path) -> None:
    class Skipping(Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int:
            if self.current_epoch == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return -1

    trainer = L.Trainer(max_epochs=9, callbacks=[CheckpointDirectory(tmp_path)], **SAVING)
    with pytest.raises(SystemExit) as ended:
        trainer.fit(Skipping(), loader())
    assert ended.value.code == 75 and trainer.current_epoch == 2


def test_a_checkpoint_of_another_module_is_told_by_name(tmp_path: Path) -> None:
    trainer = L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(Regression(), loader())
    trainer.save_checkpoint(tmp_path / "one.ckpt")

    class Other(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.network[0] = nn.Linear(6, 8)
            self.more = nn.Linear(1, 1)
            del self.network[3]

    with pytest.raises(CheckpointMismatch) as refused:
        Other.load_from_checkpoint(tmp_path / "one.ckpt")
    said = str(refused.value)
    assert "missing: more.weight, more.bias" in said
    assert "unexpected: network.3.weight, network.3.bias" in said
    assert "of another shape: network.0.weight (8x4 instead of 8x6)" in said
