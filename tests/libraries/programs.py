"""What users of libraries that are written for Lightning write. Nothing here knows of Leyden.

Each gives what it ends with: numbers that must be the same with both, to the last bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "logger": False,
}


def ends(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """Metrics and weights after a fit."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    weights = {name: value.double().flatten().tolist() for name, value in module.state_dict().items()}
    return {"metrics": metrics, "weights": weights, "steps": trainer.global_step}


def gluonts(folder: Path) -> dict[str, Any]:
    """Two of GluonTS's estimators, which make their own Trainer, callbacks and checkpoints."""
    import pandas as pd
    from gluonts.dataset.pandas import PandasDataset
    from gluonts.torch import DeepAREstimator, SimpleFeedForwardEstimator

    hours = pd.date_range("2026-01-01", periods=200, freq="h")
    waves = pd.DataFrame({"target": np.sin(np.arange(200) / 8).astype("float32")}, index=hours)
    data = PandasDataset(waves, target="target")
    options = {"prediction_length": 12, "batch_size": 8, "num_batches_per_epoch": 5}
    trainer = {**QUIET, "max_epochs": 2, "default_root_dir": folder}
    found = {}
    for kind, more in ((SimpleFeedForwardEstimator, {}), (DeepAREstimator, {"freq": "h", "hidden_size": 8})):
        predictor = kind(**options, **more, trainer_kwargs=trainer).train(data, validation_data=data)
        forecast = next(iter(predictor.predict(data)))
        found[kind.__name__] = [float(value) for value in forecast.mean]
    return found


def simclr() -> Any:
    """A module of lightly's parts beside an online classifier. lightly's own are ``pytorch_lightning``'s."""
    import pytorch_lightning
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.utils.benchmarking import OnlineLinearClassifier
    from lightly.utils.lars import LARS
    from lightly.utils.scheduler import CosineWarmupScheduler

    class SimCLR(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.backbone = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU())
            self.head = SimCLRProjectionHead(8, 16, 8)
            self.criterion = NTXentLoss()
            self.online = OnlineLinearClassifier(feature_dim=8, num_classes=4, topk=(1, 2))

        def forward(self, x: torch.Tensor) -> Any:
            return self.backbone(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, labels = batch
            features = self(x)
            loss = self.criterion(self.head(features), self.head(self(x + 0.1 * torch.randn_like(x))))
            self.log("train_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(labels))
            online, logged = self.online.training_step((features.detach(), labels), batch_idx)
            self.log_dict(logged, sync_dist=True, batch_size=len(labels))
            return loss + online

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            loss, logged = self.online.validation_step((self(batch[0]), batch[1]), batch_idx)
            self.log_dict(logged, prog_bar=True, sync_dist=True, batch_size=len(batch[1]))
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = LARS(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-6)
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler = CosineWarmupScheduler(optimizer, warmup_epochs=2, max_epochs=steps)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return SimCLR()


def lightly(folder: Path) -> dict[str, Any]:
    """SimCLR, and the library's own modules and callback that judge what was learnt."""
    import pytorch_lightning
    from lightly.utils.benchmarking import KNNClassifier, LinearClassifier, MetricCallback
    from torch.utils.data import DataLoader, TensorDataset

    samples = DataLoader(TensorDataset(torch.randn(48, 16), torch.randint(0, 4, (48,))), 8)
    module, seen = simclr(), MetricCallback()

    def trainer(callback: Any, epochs: int) -> Any:
        return pytorch_lightning.Trainer(**QUIET, max_epochs=epochs, callbacks=[callback], default_root_dir=folder)

    learning = trainer(seen, 2)
    learning.fit(module, samples, samples)
    kinds = {"num_classes": 4, "topk": (1, 2)}
    nearest = KNNClassifier(module, **kinds, knn_k=5, knn_t=0.1, train_dataloader_idx=0, val_dataloader_idx=1)
    trainer(found := MetricCallback(), 1).validate(nearest, [samples, samples], verbose=False)
    trainer(linear := MetricCallback(), 1).fit(
        LinearClassifier(module, batch_size_per_device=8, feature_dim=8, **kinds), samples, samples
    )
    judged = [{**one.train_metrics, **one.val_metrics} for one in (seen, found, linear)]
    return {
        **ends(learning, module),
        "judged": [{name: [float(value) for value in values] for name, values in one.items()} for one in judged],
    }


def pytorch_forecasting(folder: Path) -> dict[str, Any]:
    """A Temporal Fusion Transformer, trained and asked."""
    import pandas as pd
    from pytorch_forecasting import QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet

    steps = np.arange(60)
    series = [pd.DataFrame({"time": steps, "group": str(i), "value": np.sin(steps / 5 + i) + 2}) for i in range(4)]
    table = pd.concat(series, ignore_index=True)
    names = {"time_idx": "time", "target": "value", "group_ids": ["group"], "static_categoricals": ["group"]}
    reals = {"time_varying_unknown_reals": ["value"], "time_varying_known_reals": ["time"]}
    lengths = {"max_encoder_length": 16, "max_prediction_length": 6}
    training = TimeSeriesDataSet(table[table.time <= 52], **names, **reals, **lengths)
    validation = TimeSeriesDataSet.from_dataset(training, table, predict=True, stop_randomization=True)
    loaders = training.to_dataloader(train=True, batch_size=32), validation.to_dataloader(train=False, batch_size=32)
    sizes = {"hidden_size": 4, "attention_head_size": 1, "hidden_continuous_size": 4}
    module = TemporalFusionTransformer.from_dataset(training, **sizes, learning_rate=0.03, loss=QuantileLoss())
    callbacks = [EarlyStopping("val_loss", patience=3), LearningRateMonitor()]
    options = {**QUIET, "logger": CSVLogger(folder), "enable_checkpointing": False}
    trainer = pl.Trainer(**options, max_epochs=2, limit_train_batches=4, gradient_clip_val=0.1, callbacks=callbacks)
    trainer.fit(module, *loaders)
    answers = module.predict(loaders[1], trainer_kwargs=QUIET)
    return {**ends(trainer, module), "answers": answers.flatten().tolist()}


class OnGraphs(pl.LightningModule):
    def __init__(self) -> None:
        from torch_geometric.nn import GCNConv

        super().__init__()
        self.conv = GCNConv(4, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, batch: Any) -> torch.Tensor:
        from torch_geometric.nn import global_mean_pool

        hidden = self.conv(batch.x, batch.edge_index).relu()
        return self.out(global_mean_pool(hidden, batch.batch))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch), batch.y)
        self.log("loss", loss, batch_size=batch.num_graphs)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        right = self(batch).argmax(-1) == batch.y
        self.log("accuracy", right.float().mean(), batch_size=batch.num_graphs, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


def torch_geometric(folder: Path) -> dict[str, Any]:
    """Its batches of graphs, and its own data module in the place of loaders."""
    from torch_geometric.data import Data, InMemoryDataset
    from torch_geometric.data.lightning import LightningDataset

    def graph(label: int) -> Data:
        return Data(x=torch.randn(6, 4) + label, edge_index=torch.randint(0, 6, (2, 14)), y=torch.tensor([label]))

    class Graphs(InMemoryDataset):
        def __init__(self, graphs: list[Data]) -> None:
            super().__init__(str(folder))
            self.data, self.slices = self.collate(graphs)

    made = [graph(index % 2) for index in range(48)]
    data = LightningDataset(Graphs(made[:32]), Graphs(made[32:]), batch_size=8, num_workers=0)
    best = ModelCheckpoint(folder / "kept", "{epoch}-{accuracy:.2f}", monitor="accuracy", mode="max")
    trainer = pl.Trainer(**QUIET, devices=1, max_epochs=3, callbacks=[best])
    module = OnGraphs()
    trainer.fit(module, data)
    loaded = OnGraphs.load_from_checkpoint(best.best_model_path)
    again = trainer.validate(loaded, data, verbose=False)
    return {**ends(trainer, module), "best": Path(best.best_model_path).name, "again": again}


def optuna(folder: Path) -> dict[str, Any]:
    """A study whose callback ends trials that promise little."""
    import optuna
    from lightning.pytorch.demos.boring_classes import BoringModel
    from optuna_integration import PyTorchLightningPruningCallback

    class Model(BoringModel):
        def __init__(self, lr: float) -> None:
            super().__init__()
            self.lr = lr

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("loss", self(batch).square().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    def objective(trial: optuna.Trial) -> float:
        pl.seed_everything(0, verbose=False)
        callback = PyTorchLightningPruningCallback(trial, monitor="loss")
        limits = {"limit_train_batches": 6, "limit_val_batches": 3, "enable_checkpointing": False}
        trainer = pl.Trainer(**QUIET, **limits, max_epochs=4, callbacks=[callback])
        trainer.fit(Model(trial.suggest_float("lr", 1e-4, 1.0, log=True)))
        return float(trainer.callback_metrics["loss"])

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(objective, n_trials=6)
    return {"states": [trial.state.name for trial in study.trials], "best": study.best_value}
