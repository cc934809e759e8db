"""Checkpoints on disk: whole or absent, verified, pruned without loss, and read without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine import jobs
from engine.programs import QUIET, SAVING, Regression, loader, same, wait_until, weights
from engine.ranks import run_ranks, values
from leyden.callbacks import CheckpointDirectory, ModelCheckpoint
from leyden.checkpoint import store
from leyden.errors import CheckpointStorage, Superseded
from leyden_contract.layout import digest_of
from leyden_contract.manifest import Manifest


def fit(directory: Path, epochs: int = 2, module: L.LightningModule | None = None, **options: Any) -> L.LightningModule:
    module = module if module is not None else Regression()
    keeper = CheckpointDirectory(directory, **options)
    L.Trainer(max_epochs=epochs, callbacks=[keeper], **SAVING).fit(module, loader(), loader(8, shuffle=False))
    return module


def test_the_manifest_says_what_a_reader_must_know(tmp_path: Path) -> None:
    fit(tmp_path, epochs=1)
    path = tmp_path / "step-000000000005"
    text = (path / "manifest.json").read_bytes()
    manifest = Manifest.model_validate_json(text)
    assert (manifest.step, manifest.epoch, manifest.world_size) == (5, 0, 1)
    assert manifest.module == "engine.programs:Regression"
    assert manifest.hyperparameters == {"width": 4, "lr": 0.05, "dropout": 0.2}
    assert set(manifest.metrics) >= {"loss", "loss_step", "loss_epoch", "val_loss"}
    assert manifest.signature is not None
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.signature.inputs] == [
        ("inputs", "float32", (None, 4))
    ]
    assert [spec.shape for spec in manifest.signature.outputs] == [(None, 1)]
    assert set(manifest.files) == {"weights.pt", "state.pt"}
    assert store.inspect(path).digest == digest_of(text)
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_weights_load_without_anything_but_torch(tmp_path: Path) -> None:
    module = fit(tmp_path)
    loaded = torch.load(tmp_path / "step-000000000010" / "weights.pt", weights_only=True)
    assert same(loaded, weights(module))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, reason",
    [
        pytest.param(lambda path: flip(path / "weights.pt"), "SHA-256", id="a-flipped-byte"),
        pytest.param(lambda path: (path / "state.pt").write_bytes(b""), "0 bytes instead of", id="a-cut-file"),
        pytest.param(lambda path: (path / "weights.pt").unlink(), "cannot be read", id="a-missing-file"),
        pytest.param(lambda path: (path / "manifest.json").write_text("{}"), "manifest is not valid", id="no-manifest"),
    ],
)
def test_a_corrupt_newest_checkpoint_is_passed_over(tmp_path: Path, damage: Any, reason: str) -> None:
    fit(tmp_path, epochs=2)
    damage(tmp_path / "step-000000000010")
    keeper = CheckpointDirectory(tmp_path)
    trainer = L.Trainer(max_epochs=2, callbacks=[keeper], **SAVING)
    module = Regression()
    with pytest.warns(UserWarning, match="passed over"):
        trainer.fit(module, loader())
    assert len(module.seen) == 5
    skipped = keeper.checkpoints().skipped
    assert len(skipped) == 1 and reason in skipped[0] and "step-000000000010" in skipped[0]


def test_a_damaged_newest_checkpoint_does_not_push_out_what_is_committed_after_it(tmp_path: Path) -> None:
    fit(tmp_path, epochs=2, keep_last=2)
    flip(tmp_path / "step-000000000010" / "weights.pt")
    with pytest.warns(UserWarning, match="passed over"):
        trainer = L.Trainer(max_steps=7, callbacks=[CheckpointDirectory(tmp_path, keep_last=1)], **SAVING)
        trainer.fit(Regression(), loader())
    chosen = store.choose(tmp_path)
    assert chosen.stored is not None and chosen.stored.step == 7
    assert (tmp_path / "step-000000000010").is_dir(), "a person may want to look at it"


class Scored(Regression):
    """Its epochs have the scores that a test says."""

    scores = (3.0, 1.0, 2.0, 5.0, 4.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", self.scores[self.current_epoch])


@pytest.mark.parametrize(
    "mode, last, best, kept",
    [
        pytest.param("min", 1, 1, {10, 25}, id="the-newest-and-the-lowest"),
        pytest.param("max", 1, 1, {20, 25}, id="the-newest-and-the-highest"),
        pytest.param("min", 2, 2, {10, 15, 20, 25}, id="two-of-each"),
        pytest.param("min", 0, 0, {10, 25}, id="never-less-than-one-of-each"),
    ],
)
def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path, mode: Any, last: int, best: int, kept: set[int]) -> None:
    fit(tmp_path, 5, Scored(), monitor="score", mode=mode, keep_last=last, keep_best=best)
    assert {stored.step for stored in store.complete(tmp_path)} == kept


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_harms_nothing(tmp_path: Path) -> None:
    (answer,) = values(run_ranks(1, jobs.save_on_a_full_disk, str(tmp_path), 4096))
    assert answer["reason"] == "CheckpointStorage"
    assert "step 10 cannot be written" in answer["message"] and "untouched" in answer["message"]
    assert ": File too large;" in answer["message"], "the system's words, not those of torch's archive"
    chosen = store.choose(tmp_path)
    assert chosen.stored is not None and chosen.stored.step == 5 and not chosen.skipped


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    module = Regression()
    with pytest.raises(CheckpointStorage, match=r"directory .*file/checkpoints cannot be written: Not a directory"):
        fit(tmp_path / "file" / "checkpoints", 1, module)
    assert not module.seen, "it is said before anything is trained"


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    fit(tmp_path, epochs=1)
    (tmp_path / ".tmp-step-000000000010").mkdir()
    (tmp_path / "step-000000000005").rename(tmp_path / ".old-step-000000000005")
    store.prepare(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000000005"]


def test_never_resuming_leaves_older_checkpoints_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(tmp_path, epochs=2)
    monkeypatch.setenv("LEYDEN_RUN_ID", "uid-1-0")
    fresh = fit(tmp_path, epochs=1, resume="never")
    assert isinstance(fresh, Regression) and len(fresh.seen) == 5
    again = fit(tmp_path, epochs=2, resume="never")  # the same job, restarted: its own checkpoint counts
    assert isinstance(again, Regression) and len(again.seen) == 5


def test_each_start_that_never_resumes_is_fresh_but_for_torchruns_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps_of(restarts: str, epochs: int) -> int:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
        module = fit(tmp_path, epochs, resume="never")
        assert isinstance(module, Regression)
        return len(module.seen)

    assert [steps_of("0", 1), steps_of("0", 1), steps_of("1", 2)] == [5, 5, 5]


def test_an_attempt_that_was_given_up_cannot_touch_its_successors_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OvertakenInEpoch(Regression):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                wait_until(lambda: bool(store.complete(tmp_path)), "the checkpoint of the first epoch is not there")
                with monkeypatch.context() as other:
                    other.setenv("LEYDEN_RUN_ID", "uid-1")
                    fit(tmp_path, epochs=3)

    monkeypatch.setenv("LEYDEN_RUN_ID", "uid-0")
    with pytest.raises(Superseded, match="run uid-1 writes its checkpoints to"):
        fit(tmp_path, 4, OvertakenInEpoch())
    with pytest.raises(Superseded, match="uid-0 must not any more"):
        fit(tmp_path, 4)
    assert [stored.step for stored in store.complete(tmp_path)] == [15, 10, 5]


# Single files.


def test_model_checkpoint_keeps_the_best_files(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{epoch}-{score:.1f}", monitor="score", save_top_k=2, save_last=True)
    trainer = L.Trainer(max_epochs=5, callbacks=[saver], **SAVING)
    trainer.fit(Scored(), loader(), loader(8, shuffle=False))
    names = {"epoch=1-score=1.0.ckpt", "epoch=2-score=2.0.ckpt", "last.ckpt"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert saver.best_model_path.endswith("epoch=1-score=1.0.ckpt")
    assert float(saver.best_model_score or 0) == 1.0


def test_a_single_file_has_lightnings_keys_and_resumes(tmp_path: Path) -> None:
    module = Regression()
    trainer = L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    contents = torch.load(tmp_path / "model.ckpt", weights_only=True)
    keys = "epoch global_step pytorch-lightning_version state_dict loops callbacks optimizer_states lr_schedulers"
    assert set(contents) >= {*keys.split(), "hparams_name", "hyper_parameters"}
    resumed = Regression()
    longer = L.Trainer(max_epochs=2, **QUIET)
    longer.fit(resumed, loader(), ckpt_path=tmp_path / "model.ckpt")
    assert longer.global_step == 10 and len(resumed.seen) == 5
