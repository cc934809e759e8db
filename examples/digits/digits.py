"""A small convolutional network that reads handwritten digits: scikit-learn's 1,797 real images of 8 x 8 pixels.

Runs as it is (``python digits.py``), under torchrun, and as a TrainingJob (``digits:LitDigits`` and
``digits:DigitsData``).
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import leyden as L
from leyden.callbacks import CheckpointDirectory
from leyden.metrics import Accuracy

Batch = tuple[Tensor, Tensor]


class LitDigits(L.LightningModule):
    """Images of (batch, 1, 8, 8), float32 from 0 to 1, to a score for each of the ten digits."""

    def __init__(self, width: int = 16, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.network = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
        self.val_acc = Accuracy()
        self.test_acc = Accuracy()

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.network(image)
        return scores

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, digits = batch
        loss = nn.functional.cross_entropy(self(images), digits)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, digits = batch
        scores = self(images)
        self.val_acc.update(scores, digits)
        self.log("val_loss", nn.functional.cross_entropy(scores, digits))
        self.log("val_acc", self.val_acc, prog_bar=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        images, digits = batch
        self.test_acc.update(self(images), digits)
        self.log("test_acc", self.test_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class DigitsData(L.LightningDataModule):
    """The images in a fixed random order: 1,297 to train, 300 to validate, 200 held out for the test."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        # Here and not above: whoever serves the module needs its code, but neither the data nor where it comes from.
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)[order] / 16
        labels = torch.tensor(digits.target)[order]
        everything = TensorDataset(images, labels)
        self.train, self.val, self.held_out = (
            torch.utils.data.Subset(everything, range(start, end))
            for start, end in ((0, 1297), (1297, 1597), (1597, 1797))
        )

    def _loader(self, dataset: Dataset[Batch], shuffle: bool = False) -> DataLoader[Batch]:
        return DataLoader(dataset, self.batch_size, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.held_out)


def held_out(count: int) -> list[dict[str, object]]:
    """The first images of the held-out split with their digits, as plain lists."""
    data = DigitsData()
    data.setup("test")
    pairs = (data.held_out[index] for index in range(count))
    return [{"image": image.squeeze(0).tolist(), "truth": int(digit)} for image, digit in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--checkpoints", default="checkpoints", help="where step-* directories go")
    parser.add_argument("--held-out", type=int, metavar="N", help="print N held-out images as JSON and exit")
    options = parser.parse_args()
    if options.held_out is not None:
        print(json.dumps(held_out(options.held_out)))
        return
    L.seed_everything(1)
    keep = CheckpointDirectory(options.checkpoints, monitor="val_acc", mode="max")
    trainer = L.Trainer(max_epochs=options.epochs, callbacks=[keep], logger=False)
    data = DigitsData()
    model = LitDigits()
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data)


if __name__ == "__main__":
    main()
