"""Runs with gradients on their way to a step, for the tests of resuming and the ranks that they start."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import leyden as L
from engine.jobs import KillAfter
from engine.programs import SAVING, Regression, loader, weights
from leyden import elastic
from leyden.callbacks import CheckpointDirectory
from leyden.strategies import FSDPStrategy


class ByHand(Regression):
    """Steps after every second batch, over the ends of epochs, and keeps what has no other place in buffers."""

    automatic_optimization = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("batches", torch.tensor(0))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.manual_backward(super().training_step(batch, batch_idx))
        self.batches += 1
        if not self.batches % 2:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()


class StopAfter(KillAfter):
    """Asks the run to end, once."""

    def on_train_batch_start(self, *args: Any) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)


def train_by_hand(directory: str, stop_after: int | None = None, **options: Any) -> dict[str, Any]:
    """Train with a checkpoint where the run is told to stop."""
    torch.manual_seed(3)
    module = ByHand()
    callbacks = [CheckpointDirectory(directory, every_n_epochs=100), *([StopAfter(stop_after)] if stop_after else [])]
    trainer = L.Trainer(max_epochs=3, callbacks=callbacks, **SAVING, **options)
    try:
        trainer.fit(module, loader(20, 4))
    except SystemExit:
        return {"stopped": True}
    whole = trainer.strategy.whole(module.state_dict())
    return {"stopped": False, "weights": {name: value.cpu() for name, value in whole.items()}}


def train_by_hand_in_shards(kind: str, directory: str, stop_after: int | None = None) -> dict[str, Any]:
    """:func:`train_by_hand`, where each rank has a part of the module."""
    with mock.patch.object(elastic, "AGREE_SECONDS", 0):  # so that all stop a step after they were told
        return train_by_hand(directory, stop_after, strategy=FSDPStrategy(state_dict_type=kind), devices=2)


def accumulate(directory: str, file: str | None = None) -> dict[str, torch.Tensor]:
    """Train with files of validations in the middle of accumulation."""
    torch.manual_seed(3)
    module = Regression(dropout=0.0)
    saver = L.callbacks.ModelCheckpoint(Path(directory) / "kept", save_top_k=-1)
    options = {**SAVING, "max_epochs": 2, "val_check_interval": 3, "accumulate_grad_batches": 2}
    trainer = L.Trainer(callbacks=[saver], **options)
    trainer.fit(module, loader(40, 4), loader(8, shuffle=False), ckpt_path=file)
    return weights(module)
