"""Small modules and data that the programs share."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset


def samples(count: int) -> TensorDataset:
    """Inputs of width 4 and targets of width 1."""
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(7))
    return TensorDataset(inputs, inputs.sum(dim=1, keepdim=True).sin())


def loader(count: int = 8, batch_size: int = 2, shuffle: bool = False, **options: Any) -> DataLoader[Any]:
    return DataLoader(samples(count), batch_size, shuffle=shuffle, **options)


class Batches:
    """A loader that is no DataLoader, of which Lightning 2.6 with this torch cannot predict."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.batches = list(loader)

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def batches(count: int = 8) -> Batches:
    return Batches(loader(count))


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __init__(self, count: int) -> None:
        self.samples = samples(count)

    def __iter__(self) -> Any:
        return (self.samples[index] for index in range(len(self.samples)))


class Trained(pl.LightningModule):
    """A small network with dropout; nothing but training."""

    dropout = 0.2

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(self.dropout), nn.Linear(3, 1))
        self.lr = lr

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.network(inputs)
        return output

    def loss(self, batch: Any) -> Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self(inputs), targets)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Whole(Trained):
    """Every stage."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("val_loss", loss)
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])


class Loaders:
    """A loader for every stage."""

    def train_dataloader(self) -> Any:
        return loader(8, shuffle=True)

    def val_dataloader(self) -> Any:
        return loader(4)

    def test_dataloader(self) -> Any:
        return loader(4)

    def predict_dataloader(self) -> Any:
        return batches(4)


class Loaded(Loaders, Whole):
    """Brings its own loaders."""


class Data(Loaders, pl.LightningDataModule):
    """The same loaders beside a module."""


class Scripted(Whole):
    """Logs a validation loss that follows a script."""

    def __init__(self, script: list[float]) -> None:
        super().__init__()
        self.script = script

    def on_validation_epoch_end(self) -> None:
        self.log("scripted", self.script[min(self.current_epoch, len(self.script) - 1)])
