"""A small transformer that learns to write like Python's documentation, byte by byte.

Its text ships with Python: the docstrings of the standard library. Runs as it is (``python textlm.py``), under
torchrun, and as a TrainingJob (``textlm:LitTextLM`` and ``textlm:DocstringData``).
"""

from __future__ import annotations

import argparse
import ast
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import leyden as L
from leyden.callbacks import CheckpointDirectory

BYTES = 256


def docstrings(limit: int = 400_000) -> bytes:
    """Docstrings of the standard library's top-level modules, in the order of their names, cut at ``limit`` bytes."""
    text = bytearray()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text += (ast.get_docstring(node) or "").encode() + b"\n\n"
        if len(text) >= limit:
            break
    return bytes(text[:limit])


class Windows(Dataset[Tensor]):
    """Pieces of ``length + 1`` bytes, end to end: inputs and the bytes that follow them."""

    def __init__(self, text: bytes, length: int) -> None:
        self.text = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
        self.length = length

    def __len__(self) -> int:
        return (len(self.text) - 1) // self.length

    def __getitem__(self, index: int) -> Tensor:
        start = index * self.length
        return self.text[start : start + self.length + 1]


class LitTextLM(L.LightningModule):
    """Bytes of (batch, length), int64, to scores for each next byte: (batch, length, 256)."""

    def __init__(self, length: int = 64, width: int = 64, layers: int = 2, heads: int = 4, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.bytes = nn.Embedding(BYTES, width)
        self.positions = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.scores = nn.Linear(width, BYTES)

    def forward(self, text: Tensor) -> Tensor:
        length = text.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=text.device)
        hidden = self.bytes(text) + self.positions(torch.arange(length, device=text.device))
        scores: Tensor = self.scores(self.layers(hidden, mask=mask, is_causal=True))
        return scores

    def _loss(self, batch: Tensor) -> Tensor:
        scores = self(batch[:, :-1])
        return nn.functional.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class DocstringData(L.LightningDataModule):
    """The first nine tenths of the text to train, the last to validate."""

    def __init__(self, batch_size: int = 32, length: int = 64, limit: int = 400_000) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.length = length
        self.limit = limit

    def setup(self, stage: str) -> None:
        text = docstrings(self.limit)
        split = len(text) * 9 // 10
        self.train, self.val = Windows(text[:split], self.length), Windows(text[split:], self.length)

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.val, self.batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--checkpoints", default="checkpoints", help="where step-* directories go")
    parser.add_argument("--limit", type=int, default=400_000, help="bytes of text")
    options = parser.parse_args()
    L.seed_everything(1)
    keep = CheckpointDirectory(options.checkpoints, monitor="val_loss", mode="min")
    trainer = L.Trainer(max_epochs=options.epochs, callbacks=[keep], logger=False, gradient_clip_val=1.0)
    trainer.fit(LitTextLM(), datamodule=DocstringData(limit=options.limit))


if __name__ == "__main__":
    main()
