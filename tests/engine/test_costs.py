"""What a run keeps and binds, so that it costs little: nothing of a batch outlives it, and steps are bound once."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import leyden as L
from engine.programs import QUIET


class Fresh:
    """Batches that nobody else holds."""

    def __iter__(self) -> Iterator[Tensor]:
        return (torch.ones(2, 4) for _ in range(len(self)))

    def __len__(self) -> int:
        return 3


class Watching(L.LightningModule):
    """Notes which batches and losses are still there when the next batch begins."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.seen: list[Any] = []
        self.left: list[int] = []

    def _step(self, name: str, batch: Tensor) -> Tensor:
        loss = self.layer(batch).sum()
        self.seen += [weakref.ref(batch), weakref.ref(loss)]
        self.log(name, loss, on_step=True, on_epoch=True)
        return loss

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self._step("loss", batch)

    def validation_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self._step("val_loss", batch)

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        self.left.append(sum(one() is not None for one in self.seen))

    def on_validation_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        self.left.append(sum(one() is not None for one in self.seen))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}], ids=str)
def test_nothing_of_a_batch_is_kept(options: dict[str, Any]) -> None:
    module = Watching()
    L.Trainer(max_epochs=2, **QUIET, **options).fit(module, Fresh(), Fresh())
    assert len(module.seen) == 2 * 2 * 6, "two references of each batch: two epochs of three and three"
    assert module.left == [0, 0, 0, 1, 1, 1] * 2, "validation begins with the last batch of training still in hand"


class OfBatchAlone(Watching):
    """Steps without ``batch_idx``."""

    def training_step(self, batch: Tensor) -> Tensor:  # type: ignore[override]  # the shorter form that is allowed
        self.types = [self.layer(batch).dtype]
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor) -> None:  # type: ignore[override]  # the shorter form that is allowed
        self.types.append(self.layer(batch).dtype)


@pytest.mark.parametrize("profiler", [None, "simple"])
def test_a_step_of_the_batch_alone_runs_in_its_precision(profiler: str | None) -> None:
    module = OfBatchAlone()
    L.Trainer(max_epochs=1, precision="bf16-mixed", profiler=profiler, **QUIET).fit(module, Fresh(), Fresh())
    assert module.types == [torch.bfloat16] * 4
