"""Trains a small module with one library and goes on from the other's file: ``lightning|leyden PEERS FROM TO OUTPUT``.

``FROM`` may be ``-``; else the module is made from it too. Half of the second epoch is trained in a first run; a second
run goes on to the end of the third.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    library, peers, source, target, output = sys.argv[1:]
    sys.path.append(peers)
    if library == "leyden":
        from leyden import compat

        sys.path.remove(peers)
        compat.install()
    import lightning.pytorch as pl
    import torch
    from torch.utils.data import DataLoader

    class Model(pl.LightningModule):
        def __init__(self, hparams: Any) -> None:
            super().__init__()
            self.save_hyperparameters(hparams)
            self.layer = torch.nn.Linear(self.hparams.width, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch).square().mean()

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if target != "-" and trainer.global_step == 7:
                trainer.save_checkpoint(target)

    torch.manual_seed(1)
    module = Model({"width": 4, "lr": 0.01}) if source == "-" else Model.load_from_checkpoint(source)
    data = DataLoader(torch.arange(80.0).reshape(20, 4) / 80, batch_size=4)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Save()],
    )
    steps: list[int] = []
    module.on_train_batch_end = lambda *_: steps.append(trainer.global_step)
    trainer.fit(module, data, ckpt_path=None if source == "-" else source)
    weights = [value.tolist() for value in module.state_dict().values()]
    with open(output, "w") as file:
        json.dump({"weights": weights, "steps": steps, "epoch": trainer.current_epoch}, file)


if __name__ == "__main__":
    main()
