"""Trains the autoencoder of ``model.py`` on handwritten digits and saves it where ``fastapi_app.py`` looks for it.

``python -m leyden.compat train.py``, then ``python -m leyden.compat -m uvicorn fastapi_app:app --reload``.
"""

import lightning as L
import torch
from model import LitAutoEncoder
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 5


def main() -> None:
    L.seed_everything(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    data = DataLoader(TensorDataset(images, torch.tensor(digits.target)), batch_size=32, shuffle=True)
    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    decoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64))
    trainer = L.Trainer(max_epochs=EPOCHS)
    trainer.fit(LitAutoEncoder(encoder, decoder), data)
    trainer.save_checkpoint("path/to/checkpoint.ckpt")


if __name__ == "__main__":
    main()
