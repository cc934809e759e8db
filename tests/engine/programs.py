"""Small modules and data that the engine's tests train, importable by the processes that they start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden as L
from accelerator import ACCELERATOR, ON_GPU
from leyden.loggers import Logger

DEVICE = torch.device("cuda" if ON_GPU else "cpu")

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "accelerator": ACCELERATOR,
}
ON_CPU = {**QUIET, "accelerator": "cpu"}
"""For tests of what only CPUs have, such as any number of them."""

SAVING = {**QUIET, "enable_checkpointing": None}
"""Where a callback of the test's own keeps checkpoints."""


def samples(count: int, width: int = 4) -> TensorDataset:
    """Inputs, targets and the number of each sample."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(count, width, generator=generator)
    return TensorDataset(inputs, inputs.sum(dim=1, keepdim=True).sin(), torch.arange(count))


def loader(count: int = 20, batch_size: int = 4, shuffle: bool = True, **options: Any) -> DataLoader[Any]:
    return DataLoader(samples(count), batch_size, shuffle=shuffle, **options)


class Regression(L.LightningModule):
    """A network with dropout and momentum, whose weights depend on every draw of every generator."""

    def __init__(self, width: int = 4, lr: float = 0.05, dropout: float = 0.2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.lr = lr
        self.seen: list[list[int]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.network(inputs)
        return output

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets, numbers = batch
        self.seen.append(numbers.tolist())
        loss = nn.functional.mse_loss(self(inputs), targets)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, targets, _ = batch
        self.log("val_loss", nn.functional.mse_loss(self(inputs), targets))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)]


class Kept(Logger):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class Adversaries(L.LightningModule):
    """Two optimizers that step in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.one, self.two = nn.Linear(4, 1), nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        inputs, targets, _ = batch
        for part, optimizer in zip((self.one, self.two), self.optimizers(), strict=True):
            loss = nn.functional.mse_loss(part(inputs), targets)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("loss", loss)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.one, self.two)]


def weights(module: nn.Module) -> dict[str, Tensor]:
    """On the CPU, where a module is after its runs."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def wait_until(true: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
    """Poll until it is true; after that many seconds it is an error."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
