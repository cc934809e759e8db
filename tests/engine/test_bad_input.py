"""What a program gets wrong is said in one sentence, by field, and before anything has run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar, TQDMProgressBar
from leyden.errors import MisconfigurationError
from leyden.loggers import CSVLogger


def fit(module: Any = None, data: Any = None, **options: Any) -> None:
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, **options})
    trainer.fit(module or Regression(), data if data is not None else loader(4))


def sgd(module: L.LightningModule) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


class Answering(Regression):
    """Its ``configure_optimizers`` gives what a function makes of it."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def configure_optimizers(self) -> Any:
        return self.answer(self)


class Returning(Regression):
    """Its step gives what it was told."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.value


class Logging(Regression):
    """Its step calls ``log`` or ``log_dict``."""

    def __init__(self, method: str, *args: Any, **options: Any) -> None:
        super().__init__()
        self.call = method, args, options

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        method, args, options = self.call
        getattr(self, method)(*args, **options)
        return super().training_step(batch, batch_idx)


class Endless:
    """A loader of unknown length."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from loader()


class Pulling(Regression):
    def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]  # which is the mistake
        return None


class Clipping(Regression):
    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.5)


class NoBatch(Regression):
    def training_step(self) -> Any:  # type: ignore[override]  # which is the mistake
        return None

    def validation_step(self) -> Any:  # type: ignore[override]  # the same
        return None


class Empty(L.LightningModule):
    pass


def trainer(**options: Any) -> L.Trainer:
    return L.Trainer(accelerator="cpu", **options)


CASES = {
    "loader": (
        lambda: fit(data=5),
        "a loader='int' is not allowed: it must be a DataLoader or any iterable of batches",
    ),
    "evaluation-loader": (
        lambda: trainer(logger=False).validate(Regression(), object()),
        "a loader='object' is not allowed: it must be a DataLoader or any iterable of batches",
    ),
    "two-sources": (
        lambda: trainer(logger=False).fit(Regression(), loader(4), datamodule=L.LightningDataModule()),
        "datamodule and train_dataloaders exclude each other: give one of them",
    ),
    "two-sources-of-evaluation": (
        lambda: trainer(logger=False).test(Regression(), loader(4), datamodule=L.LightningDataModule()),
        "datamodule and dataloaders exclude each other: give one of them",
    ),
    "no-steps": (lambda: fit(Empty()), "Empty has no training_step(), which fit() needs"),
    "no-test-step": (
        lambda: trainer(logger=False).test(Regression(), loader(4)),
        "Regression has no test_step()",
    ),
    "step-without-batch": (
        lambda: fit(NoBatch()),
        "NoBatch.training_step() takes no batch: write training_step(self, batch)",
    ),
    "evaluation-without-batch": (
        lambda: trainer(logger=False).validate(NoBatch(), loader(4)),
        "NoBatch.validation_step() takes no batch: write validation_step(self, batch)",
    ),
    "no-module": (
        lambda: fit(torch.nn.Linear(1, 1)),
        "model='Linear' is not allowed: it must be a LightningModule",
    ),
    "loss": (
        lambda: fit(Returning("x")),
        "training_step() result='x' is not allowed: it must be a loss tensor, a dict with 'loss', or None",
    ),
    "loss-of-each-sample": (
        lambda: fit(Returning(torch.ones(4, requires_grad=True))),
        "the loss is a tensor of shape (4,), and must be of one element: take its mean or sum",
    ),
    "loss-without-gradients": (
        lambda: fit(Returning(torch.tensor(1.0))),
        "no gradient can come from the loss, because it depends on no parameter that requires one: are all of them "
        "frozen, or was it computed under no_grad() or after detach()?",
    ),
    "optimizer": (
        lambda: fit(Answering(lambda module: ([3], []))),
        "configure_optimizers() optimizer=3 is not allowed: it must be a torch.optim.Optimizer",
    ),
    "optimizer-in-dict": (
        lambda: fit(Answering(lambda module: {"optimizer": "sgd"})),
        "configure_optimizers() optimizer='sgd' is not allowed: it must be a torch.optim.Optimizer",
    ),
    "scheduler": (
        lambda: fit(Answering(lambda module: ([sgd(module)], [3]))),
        "configure_optimizers() scheduler=3 is not allowed: it must be one with step() and state_dict()",
    ),
    "scheduler-in-dict": (
        lambda: fit(Answering(lambda module: {"optimizer": sgd(module), "lr_scheduler": {"scheduler": "step"}})),
        "configure_optimizers() scheduler='step' is not allowed: it must be one with step() and state_dict()",
    ),
    "monitor-of-stopping": (
        lambda: fit(callbacks=[EarlyStopping("nope")]),
        "EarlyStopping monitors 'nope', but the metrics are: loss, loss_epoch, loss_step",
    ),
    "log-name": (
        lambda: fit(Logging("log", 3, 1.0)),
        "log() name=3 is not allowed: it must be a text without '/dataloader_idx_', which is added by itself",
    ),
    "log-loader": (
        lambda: fit(Logging("log", "a/dataloader_idx_0", 1.0)),
        "log() name='a/dataloader_idx_0' is not allowed: it must be a text without '/dataloader_idx_', which is "
        "added by itself",
    ),
    "log-nothing": (
        lambda: fit(Logging("log", "a", 1.0, on_step=False, on_epoch=False)),
        "log('a') with on_step=False and on_epoch=False logs nothing: set one",
    ),
    "log-reduction": (
        lambda: fit(Logging("log", "a", 1.0, reduce_fx="median")),
        "log('a') reduce_fx='median' is not allowed: it must be one of 'mean', 'sum', 'min', 'max'",
    ),
    "log-value": (
        lambda: fit(Logging("log", "a", "b")),
        "log('a') value='b' is not allowed: it must be a number, a tensor of one element or a metric",
    ),
    "log-dict": (
        lambda: fit(Logging("log_dict", [1])),
        "log_dict()='list' is not allowed: it must be a dict or a MetricCollection",
    ),
    "part-of-a-stream": (
        lambda: fit(data=Endless(), limit_train_batches=0.5),
        "limit_train_batches=0.5 is not allowed: it must be 1.0 or a number of batches, for the loader does not know "
        "how many it has",
    ),
    "part-that-is-none": (
        lambda: fit(data=loader(8), limit_train_batches=0.1),
        "limit_train_batches=0.1 is not allowed: it must be a number of batches, or a part of at least one of the "
        "loader's 2",
    ),
    "interval-of-a-stream": (
        lambda: L.Trainer(**QUIET, val_check_interval=0.5).fit(Regression(), Endless(), loader(8)),
        "val_check_interval=0.5 is not allowed: it must be 1.0 or a number of batches, for the training loader does "
        "not know how many it has",
    ),
    "iterator": (lambda: fit(Pulling()), "Pulling.training_step() gets batches, and no dataloader_iter"),
    "clipping-twice": (
        lambda: fit(Clipping(), gradient_clip_val=0.1),
        "clip_gradients(gradient_clip_val=0.5) contradicts Trainer(gradient_clip_val=0.1)",
    ),
    "bar-and-no-bar": (
        lambda: trainer(callbacks=[ProgressBar()], enable_progress_bar=False),
        "enable_progress_bar=False contradicts the ProgressBar among the callbacks",
    ),
    "two-bars": (
        lambda: trainer(callbacks=[ProgressBar(), TQDMProgressBar()]),
        "there is one progress bar in a run, and callbacks has ProgressBar, TQDMProgressBar",
    ),
    "checkpoint-and-none": (
        lambda: trainer(callbacks=ModelCheckpoint(), enable_checkpointing=False),
        "enable_checkpointing=False contradicts the ModelCheckpoint among the callbacks",
    ),
    "callback": (lambda: trainer(callbacks=3), "callbacks=3 is not allowed: it must be a Callback or a list of them"),
    "callback-class": (
        lambda: trainer(callbacks=[EarlyStopping]),
        f"callbacks={EarlyStopping!r} is not allowed: it must be a Callback or a list of them",
    ),
    "logger": (
        lambda: trainer(logger=CSVLogger),
        f"logger={CSVLogger!r} is not allowed: it must be a Logger, a list of them, True, False or None",
    ),
    "bare-bones-and-a-logger": (
        lambda: trainer(barebones=True, logger=True),
        "logger=True is not allowed: it must be left out, or False, with barebones=True",
    ),
    "deterministic": (
        lambda: trainer(deterministic="yes"),
        "deterministic='yes' is not allowed: it must be one of None, True, False, 'warn'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_message_names_what_was_given_and_what_is_allowed(name: str) -> None:
    call, said = CASES[name]
    with pytest.raises(MisconfigurationError) as error:
        call()
    assert str(error.value) == said


def test_a_loader_without_batches_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="there is nothing to train on: the loader gives no batch"):
        fit(data=[])


def test_a_trainer_without_a_module_has_nothing_to_save(tmp_path: Path) -> None:
    trainer = L.Trainer(**QUIET)
    assert trainer.lightning_module is None
    with pytest.raises(MisconfigurationError, match="save_checkpoint: the Trainer has no module yet"):
        trainer.save_checkpoint(tmp_path / "none.ckpt")
