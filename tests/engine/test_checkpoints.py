"""Checkpoints on disk: whole or absent, verified, pruned without loss, and read without running anything."""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from collections import UserDict
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy
import pytest
import torch
from torch import nn

import leyden as L
from engine import jobs
from engine.programs import QUIET, Regression, loader, same, weights
from engine.ranks import run_ranks, values
from leyden.callbacks import CheckpointDirectory, ModelCheckpoint
from leyden.checkpoint import store
from leyden.errors import CheckpointCorrupt, CheckpointStorage, MisconfigurationError, Superseded
from leyden_contract.manifest import Manifest, digest_of

SAVING = {**QUIET, "enable_checkpointing": None}


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


class LitAutoEncoder(L.LightningModule):
    """As a Lightning user writes it: modules as arguments, and no ``save_hyperparameters``."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, *_ = batch
        x = x.view(x.size(0), -1)
        loss = nn.functional.mse_loss(self.decoder(self.encoder(x)), x)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def autoencoder() -> LitAutoEncoder:
    encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return LitAutoEncoder(encoder, nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4)))


@pytest.mark.parametrize("single_file", [pytest.param(True, id="file"), pytest.param(False, id="directory")])
def test_a_module_of_modules_loads_by_its_path_alone(tmp_path: Path, single_file: bool) -> None:
    module = autoencoder()
    trainer = L.Trainer(max_epochs=1, callbacks=[CheckpointDirectory(tmp_path / "steps")], **SAVING)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = LitAutoEncoder.load_from_checkpoint(tmp_path / ("model.ckpt" if single_file else "steps"))
    loaded.eval()
    x = torch.randn(3, 4)
    assert torch.equal(loaded.encoder(x), module.encoder(x))


class Rectified(nn.Module):
    """Holds a function, which no reader of weights takes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.act = nn.functional.relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.linear(x))


class Hooked(LitAutoEncoder):
    def on_train_start(self) -> None:
        self.encoder.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(lambda: LitAutoEncoder(Rectified(), nn.Linear(2, 4)), id="a-function"),
        pytest.param(lambda: Hooked(nn.Linear(4, 2), nn.Linear(2, 4)), id="a-hook"),
    ],
)
def test_an_argument_that_cannot_be_read_spoils_no_checkpoint(
    tmp_path: Path, module: Callable[[], LitAutoEncoder]
) -> None:
    made = module()
    trainer = L.Trainer(max_epochs=1, callbacks=[CheckpointDirectory(tmp_path / "steps")], **SAVING)
    trainer.fit(made, loader())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    for path in (tmp_path / "model.ckpt", tmp_path / "steps"):
        with pytest.raises(MisconfigurationError, match=r"encoder of .*load_from_checkpoint\(path, encoder=\.\.\."):
            type(made).load_from_checkpoint(path)
        loaded = type(made).load_from_checkpoint(path, encoder=module().encoder)
        assert torch.equal(loaded.decoder.weight, made.decoder.weight)
    longer = L.Trainer(max_epochs=2, callbacks=[CheckpointDirectory(tmp_path / "steps")], **SAVING)
    longer.fit(module(), loader())
    assert longer.global_step == 2 * trainer.global_step


class Cosine(Regression):
    """Has values of numpy's and of the standard library in all places of a checkpoint."""

    def __init__(self, lr: Any = 0.1, folder: Any = None, sizes: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: numpy.cos(epoch / 10))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        values = Namespace(name="x", left=timedelta(hours=1)), Fraction(1, 3)
        checkpoint["own"] = [numpy.arange(3), numpy.datetime64("2026-01-01"), numpy.array(["a", "b"]), *values]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.own = checkpoint["own"]


def test_plain_values_come_back(tmp_path: Path) -> None:
    made = Cosine(lr=numpy.float64(0.05), folder=Path("data"), sizes=frozenset({numpy.int64(3)}))
    trainer = L.Trainer(max_epochs=1, callbacks=[CheckpointDirectory(tmp_path / "steps")], **SAVING)
    trainer.fit(made, loader())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    for path in (tmp_path / "model.ckpt", tmp_path / "steps"):
        loaded = Cosine.load_from_checkpoint(path)
        hparams = [loaded.hparams[name] for name in ("lr", "folder", "sizes")]
        assert hparams == [0.05, Path("data"), [3]] and type(hparams[0]) is float
        assert [str(value) for value in loaded.own[:3]] == ["[0 1 2]", "2026-01-01", "['a' 'b']"]
        assert loaded.own[3:] == [
            Namespace(name="x", left=timedelta(hours=1)),
            Fraction(1, 3),
        ]
    longer = L.Trainer(max_epochs=2, callbacks=[CheckpointDirectory(tmp_path / "steps")], **SAVING)
    longer.fit(Cosine(lr=0.05), loader())
    assert longer.global_step == 2 * trainer.global_step


class Shaped(LitAutoEncoder):
    """Takes classes and functions, whose defaults would make another module."""

    def __init__(self, layer: type[nn.Module] = nn.ReLU, act: Any = nn.functional.relu, saves: Any = None) -> None:
        super().__init__(nn.Linear(4, 2), nn.Linear(2, 4))
        if saves is not None:
            self.save_hyperparameters(*saves)
        self.layer, self.act = layer, act


def saved(module: L.LightningModule, path: Path) -> Path:
    trainer = L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, loader())
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize("saves", [None, ("layer", "saves")])
def test_a_class_of_torchs_is_an_argument_as_any_other(tmp_path: Path, saves: Any) -> None:
    path = saved(Shaped(nn.GELU, saves=saves), tmp_path / "model.ckpt")
    assert Shaped.load_from_checkpoint(path).layer is nn.GELU


def test_a_function_among_the_hyperparameters_is_asked_for(tmp_path: Path) -> None:
    path = saved(Shaped(act=torch.tanh, saves=("act", "saves")), tmp_path / "model.ckpt")
    with pytest.raises(
        MisconfigurationError, match=r"does not hold .* act of Shaped: .*load_from_checkpoint\(path, act="
    ):
        Shaped.load_from_checkpoint(path)
    assert Shaped.load_from_checkpoint(path, act=torch.tanh).act is torch.tanh


class Kind(StrEnum):
    SMALL = "small"


class Odd(nn.Module):
    def __deepcopy__(self, memo: Any) -> Any:
        raise LookupError("not to be copied")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(Namespace(layers=2, run=torch.tanh), id="a-function-in-a-namespace"),
        pytest.param(datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")), id="a-time-of-a-zone-by-name"),
        pytest.param({"made": [UserDict()]}, id="an-object-in-a-list"),
        pytest.param({Kind.SMALL: 1}, id="a-key-of-a-class-of-its-own"),
        pytest.param(Odd(), id="a-module-that-refuses-to-be-copied"),
    ],
)
def test_what_cannot_be_read_is_not_written(tmp_path: Path, act: Any) -> None:
    path = saved(Shaped(act=act), tmp_path / "model.ckpt")
    with pytest.warns(UserWarning, match="act of Shaped"):
        Shaped.load_from_checkpoint(path)


def test_a_function_that_was_no_hyperparameter_is_missed_with_a_warning(tmp_path: Path) -> None:
    path = saved(Shaped(act=torch.tanh), tmp_path / "model.ckpt")
    with pytest.warns(UserWarning, match=r"act of Shaped: .*; now it has their defaults"):
        assert Shaped.load_from_checkpoint(path).act is nn.functional.relu
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Shaped.load_from_checkpoint(path, act=torch.tanh)
        Shaped.load_from_checkpoint(saved(Shaped(act=torch.tanh, saves=("layer",)), tmp_path / "chosen.ckpt"))


def test_numpys_objects_are_not_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "own": numpy.array([UserDict()])}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointCorrupt, match="could run code"):
        LitAutoEncoder.load_from_checkpoint(tmp_path / "model.ckpt")


def test_a_file_that_could_run_code_is_not_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"own": UserDict()}}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointCorrupt, match="could run code"):
        Regression.load_from_checkpoint(tmp_path / "model.ckpt")


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def as_it_is(path: Path) -> None:
    """Nothing beside what the file holds is wrong with it."""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def spoil_the_start(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [as_it_is, cut, spoil_the_start])
def test_a_file_that_would_run_code_runs_none_whatever_else_is_wrong_with_it(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    torch.save({"state_dict": {}, "callbacks": {"x": Malicious(tmp_path / "ran")}}, tmp_path / "model.ckpt")
    spoil(tmp_path / "model.ckpt")
    for use in (
        lambda: Regression.load_from_checkpoint(tmp_path / "model.ckpt"),
        lambda: L.Trainer(max_epochs=1, **QUIET).fit(Regression(), loader(), ckpt_path=tmp_path / "model.ckpt"),
    ):
        with pytest.raises(CheckpointCorrupt) as refused:
            use()
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_a_directory_whose_digests_are_right_runs_no_code_either(tmp_path: Path) -> None:
    facts = {"step": 3, "epoch": 0, "module": "engine.programs:Regression", "torch_version": torch.__version__}
    stored = store.write(tmp_path, {store.WEIGHTS: {}, store.STATE: {"x": Malicious(tmp_path / "ran")}}, facts)
    store.verify(stored)
    with pytest.raises(CheckpointCorrupt, match="could run code"):
        Regression.load_from_checkpoint(stored.path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_argument_is_asked_for_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "model.ckpt")
    with pytest.raises(MisconfigurationError, match=r"encoder, decoder.*load_from_checkpoint\(path, encoder=\.\.\."):
        LitAutoEncoder.load_from_checkpoint(tmp_path / "model.ckpt")


def test_the_manifest_is_json_of_plain_values(tmp_path: Path) -> None:
    module = autoencoder()
    fit(tmp_path, 1, module)
    manifest = json.loads((tmp_path / "step-000000000005" / "manifest.json").read_text())
    assert manifest["hyperparameters"] == {}
    assert manifest["signature"] is None
