"""Methods and properties of Lightning's that the comparison of programs does not reach."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset

import leyden as L
from engine.programs import ON_CPU, QUIET, Adversaries, Regression, loader, samples
from leyden.callbacks import EarlyStopping
from leyden.callbacks.early_stopping import EarlyStoppingReason
from leyden.compat.utilities import isolate_rng
from leyden.errors import CheckpointCorrupt, MisconfigurationError


class Data(L.LightningDataModule):
    def __init__(self, size: int = 4, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.size, self.batch_size, self.epochs = size, batch_size, 0

    def train_dataloader(self) -> Any:
        self.epochs += 1
        return loader(self.size, self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = state_dict["epochs"]


def test_a_data_module_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    trainer = L.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Regression(), datamodule=Data(size=8))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    found = Data.load_from_checkpoint(tmp_path / "one.ckpt", batch_size=3)
    assert (found.size, found.batch_size, found.epochs) == (8, 3, 1)
    with pytest.warns(UserWarning, match="weights_only=False has no effect"):
        assert Data.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=False).size == 8


def test_a_class_that_the_program_trusts_may_be_in_a_checkpoint(tmp_path: Path) -> None:
    class Keeping(Regression):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["own"] = UserDict(a=1)

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.own = checkpoint["own"]

    path = tmp_path / "one.ckpt"
    trainer = L.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Keeping(), loader(4))
    with pytest.warns(UserWarning, match=r"holds collections\.UserDict beside weights and plain values"):
        trainer.save_checkpoint(path)
    with (
        pytest.warns(UserWarning, match="weights_only=False has no effect"),
        pytest.raises(CheckpointCorrupt, match=r"could run code: collections\.UserDict\. .*add_safe_globals"),
    ):
        Keeping.load_from_checkpoint(path, weights_only=False)
    with torch.serialization.safe_globals([UserDict]):
        assert Keeping.load_from_checkpoint(path).own == UserDict(a=1)


def test_what_cannot_be_saved_is_named() -> None:
    class Keeping(Regression):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["double"] = lambda x: 2 * x

    trainer = L.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Keeping(), loader(4))
    with pytest.raises(MisconfigurationError, match=r"on_save_checkpoint .*gave cannot be saved: .*lambda"):
        trainer.save_checkpoint("never.ckpt")


def test_datasets_become_loaders() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(range(3))

    data = Data.from_datasets(Stream(), [samples(4), samples(2)], {"a": samples(6)}, batch_size=2, size=7)
    assert isinstance(data, Data) and (data.size, data.batch_size, data.name) == (7, 2, None)
    assert [batch.tolist() for batch in data.train_dataloader()] == [[0, 1], [2]], "a stream has no order to change"
    assert [len(one) for one in data.val_dataloader()] == [2, 1] and len(data.test_dataloader()["a"]) == 3


def test_a_module_is_made_in_the_runs_precision() -> None:
    trainer = L.Trainer(**QUIET, precision="bf16-true")
    generator = torch.get_rng_state()
    with trainer.init_module(empty_init=True):
        layer = nn.Linear(3, 2)
    assert (layer.weight.dtype, torch.get_default_dtype()) == (torch.bfloat16, torch.float32)
    assert torch.equal(torch.get_rng_state(), generator), "nothing was drawn for weights that will be loaded"
    with L.Trainer(**ON_CPU).init_module():
        layer = nn.Linear(3, 2)
    assert layer.weight.dtype == torch.float32 and not torch.equal(torch.get_rng_state(), generator)


def test_an_optimizer_is_toggled_for_a_while() -> None:
    seen: list[tuple[bool, bool]] = []

    class Toggling(Adversaries):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            with pytest.raises(ValueError, match="inside"), self.toggled_optimizer(self.optimizers()[0]):
                seen.append((self.one.weight.requires_grad, self.two.weight.requires_grad))
                raise ValueError("inside")
            seen.append((self.one.weight.requires_grad, self.two.weight.requires_grad))

    L.Trainer(**QUIET, max_steps=1, limit_train_batches=1, max_epochs=1).fit(Toggling(), loader(4))
    assert seen == [(True, False), (True, True)]


def test_properties_of_the_trainer() -> None:
    trainer = L.Trainer(**QUIET, max_epochs=1)
    assert trainer.fit_loop.epoch_loop.val_loop is trainer.predict_loop is trainer.scaler is None
    assert trainer.distributed_sampler_kwargs == {"num_replicas": 1, "rank": 0}
    module = Regression()
    trainer.fit(module, loader(4))
    assert trainer.fit_loop.max_batches == trainer.num_training_batches and module.device_mesh is None
    with pytest.raises(MisconfigurationError, match=r"all_gather.* is over all ranks"):
        module.all_gather(torch.ones(1), group=object())


def test_generators_are_isolated() -> None:
    before = torch.get_rng_state()
    with isolate_rng():
        torch.rand(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_hyperparameters_of_a_base_class_can_be_dropped() -> None:
    module = Regression(lr=0.5)
    module.remove_ignored_hparams(["lr", "nothing"])
    assert dict(module.hparams) == dict(module.hparams_initial) == {"width": 4, "dropout": 0.2}


def test_a_registry_of_models_is_refused() -> None:
    with pytest.raises(MisconfigurationError, match="model_registry='mine' is not allowed: it must be left out"):
        L.Trainer(model_registry="mine")


def test_asking_for_the_number_of_steps_keeps_the_loader() -> None:
    asked: list[float] = []

    class Model(Regression):
        def configure_optimizers(self) -> Any:
            asked.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    class Once(Model):
        def train_dataloader(self) -> Any:
            asked.append(-1.0)
            return loader(8)

    L.Trainer(**QUIET, max_epochs=3, accumulate_grad_batches=2).fit(Once())
    assert asked == [-1.0, 3.0], "the loader was made once"


@pytest.mark.parametrize(
    ("score", "options", "reason"),
    [
        (float("nan"), {}, EarlyStoppingReason.NON_FINITE_METRIC),
        (0.1, {"stopping_threshold": 0.5}, EarlyStoppingReason.STOPPING_THRESHOLD),
        (9.0, {"divergence_threshold": 5.0}, EarlyStoppingReason.DIVERGENCE_THRESHOLD),
        (1.0, {"patience": 1}, EarlyStoppingReason.PATIENCE_EXHAUSTED),
    ],
)
def test_early_stopping_says_why(
    capsys: pytest.CaptureFixture[str], score: float, options: dict[str, Any], reason: EarlyStoppingReason
) -> None:
    class Scored(Regression):
        def on_train_epoch_end(self) -> None:
            self.log("score", score)

    callback = EarlyStopping("score", verbose=True, **options)
    assert callback.stopping_reason is EarlyStoppingReason.NOT_STOPPED
    L.Trainer(**QUIET, max_epochs=4, callbacks=[callback]).fit(Scored(), loader(4))
    assert callback.stopping_reason is reason
    assert f"EarlyStopping: {callback.stopping_reason_message}" in capsys.readouterr().out
