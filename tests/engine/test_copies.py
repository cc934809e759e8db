"""Modules, data modules, callbacks and Trainers as copies and pickles: of a run they leave what runs behind."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, SAVING, Regression, loader, same, weights
from leyden.callbacks import CheckpointDirectory, EarlyStopping, LearningRateMonitor, ModelCheckpoint, Timer
from leyden.loggers import CSVLogger

WAYS = [
    pytest.param(copy.deepcopy, id="copied"),
    pytest.param(lambda thing: pickle.loads(pickle.dumps(thing)), id="pickled"),  # noqa: S301  # our own bytes
]


class Data(L.LightningDataModule):
    def __init__(self, count: int = 20) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> Any:
        return loader(self.hparams["count"])


@pytest.mark.parametrize("way", WAYS)
def test_a_module_is_taken_alone_even_in_a_run(way: Callable[[Any], Any]) -> None:
    taken: list[Regression] = []

    class Takes(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            taken.append(way(pl_module))

    module = Regression()
    L.Trainer(max_epochs=2, callbacks=[Takes()], **QUIET).fit(module, loader())
    assert same(weights(taken[1]), weights(module)) and not same(weights(taken[0]), weights(module))
    assert taken[1].hparams == module.hparams
    with pytest.raises(RuntimeError, match="not attached to a Trainer"):
        taken[1].trainer  # noqa: B018  # asking is what fails
    L.Trainer(max_epochs=1, **QUIET).fit(taken[1], loader())


def test_a_trained_module_is_saved_whole(tmp_path: Path) -> None:
    module = Regression()
    L.Trainer(max_epochs=1, **QUIET).fit(module, loader())
    torch.save(module, tmp_path / "module.pt")
    assert same(weights(torch.load(tmp_path / "module.pt", weights_only=False)), weights(module))


@pytest.mark.parametrize("way", WAYS)
def test_a_trainers_parts_can_be_taken(tmp_path: Path, way: Callable[[Any], Any]) -> None:
    savers = [ModelCheckpoint(tmp_path, monitor="loss"), CheckpointDirectory(tmp_path / "steps")]
    parts = [*savers, EarlyStopping("loss", check_on_train_epoch_end=True), LearningRateMonitor(), Timer("00:01:00:00")]
    data, options = Data(), {**SAVING, "logger": CSVLogger(tmp_path), "log_every_n_steps": 1}
    trainer = L.Trainer(max_epochs=1, callbacks=parts, **options)
    trainer.fit(Regression(), data)
    assert [type(way(part)) for part in parts] == [type(part) for part in parts]
    assert way(savers[0]).best_model_path == savers[0].best_model_path
    assert way(data).hparams == {"count": 20}


@pytest.mark.parametrize("way", WAYS)
def test_a_trainer_that_was_taken_trains_on(way: Callable[[Any], Any]) -> None:
    trainer, module = L.Trainer(max_epochs=1, **QUIET), Regression()
    trainer.fit(module, loader())
    taken, other = way(trainer), way(module)
    assert (taken.global_step, taken.current_epoch, taken.state.status) == (5, 1, trainer.state.status)
    assert taken.callback_metrics == trainer.callback_metrics
    for runs, what in ((trainer, module), (taken, other)):
        torch.manual_seed(1)
        runs.max_epochs = 2
        runs.fit(what, loader())
        assert runs.global_step == 10
    assert same(weights(module), weights(other))
