"""What a checkpoint may hold and gives back, and what is refused before anything in it runs."""

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
from engine.programs import QUIET, SAVING, Regression, loader
from leyden.callbacks import CheckpointDirectory
from leyden.checkpoint import store
from leyden.errors import CheckpointCorrupt, MisconfigurationError


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


def test_a_file_saved_after_an_evaluation_has_the_optimizers(tmp_path: Path) -> None:
    module, trainer = Regression(), L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "before.ckpt")
    trainer.validate(module, loader(8), verbose=False)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    before, after = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("before", "after"))
    states = [found["optimizer_states"][0]["state"][0]["momentum_buffer"] for found in (before, after)]
    assert torch.equal(*states) and before["lr_schedulers"] == after["lr_schedulers"]
    longer = L.Trainer(max_epochs=2, **QUIET)
    longer.fit(Regression(), loader(), ckpt_path=tmp_path / "after.ckpt")
    assert longer.global_step == 10
    trainer.validate(Regression(), loader(8), verbose=False)
    assert trainer.optimizers == [], "they are of another module"


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


class Likelihood:
    def __init__(self, quantiles: tuple[float, ...]) -> None:
        self.quantiles = quantiles


def test_objects_of_classes_that_the_program_trusts_are_kept(tmp_path: Path) -> None:
    with torch.serialization.safe_globals([Likelihood]):
        path = saved(Shaped(act=Likelihood((0.1, 0.9))), tmp_path / "model.ckpt")
        assert Shaped.load_from_checkpoint(path).act.quantiles == (0.1, 0.9)
    with pytest.raises(CheckpointCorrupt, match=r"could run code: \S*Likelihood"):
        Shaped.load_from_checkpoint(path)


def test_what_was_lost_is_asked_for_also_where_a_base_class_takes_it(tmp_path: Path) -> None:
    class Saving(Regression):
        def __init__(self, act: Any = None, **more: Any) -> None:
            super().__init__(**more)
            self.act = act
            self.save_hyperparameters()

    class Derived(Saving):
        def __init__(self, width: int = 3, **more: Any) -> None:
            super().__init__(**more)

    path = saved(Derived(act=UserDict()), tmp_path / "model.ckpt")
    with pytest.raises(MisconfigurationError, match=r"act of .*Derived: .*load_from_checkpoint\(path, act="):
        Derived.load_from_checkpoint(path)
    assert Derived.load_from_checkpoint(path, act=1).act == 1


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
    L.Trainer(max_epochs=1, callbacks=[CheckpointDirectory(tmp_path)], **SAVING).fit(module, loader())
    manifest = json.loads((tmp_path / "step-000000000005" / "manifest.json").read_text())
    assert manifest["hyperparameters"] == {}
    assert manifest["signature"] is None
