"""What the ranks on CUDA devices run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import nn

import leyden as L
from engine import jobs
from engine.programs import QUIET, Regression, loader
from leyden.strategies import DDPStrategy, FSDPStrategy


def train(strategy: str, backend: str | None, count: int, batch_size: int, **options: Any) -> dict[str, Any]:
    """Whole weights on the CPU, where the rank was, and what the ranks agreed on."""
    kinds: dict[str, Any] = {"ddp": DDPStrategy, "fsdp": lambda **given: FSDPStrategy({nn.Linear}, **given)}
    torch.manual_seed(3)
    module = Regression(dropout=0.0)
    chosen = kinds[strategy](process_group_backend=backend, timeout=timedelta(seconds=60)) if backend else "auto"
    trainer = L.Trainer(max_epochs=3, strategy=chosen, **QUIET, **options)
    trainer.fit(module, loader(count, batch_size, shuffle=False), loader(7, 2, shuffle=False))
    whole = trainer.strategy.whole(module.state_dict())
    return {
        "weights": {name: value.detach().cpu() for name, value in whole.items()},
        "device": str(trainer.strategy.root_device),
        "val_loss": float(trainer.callback_metrics["val_loss"]),
        "backend": torch.distributed.get_backend() if torch.distributed.is_initialized() else "",
    }


def resumable(directory: str, kill_after: int | None) -> dict[str, Any]:
    """A run with dropout and checkpoints of two ranks that share a device."""
    return jobs.train(directory, kill_after=kill_after, strategy=DDPStrategy(process_group_backend="gloo"))


def collect(offset: int) -> dict[str, Any]:
    """Collective calls by hand, on the device."""
    trainer = L.Trainer(strategy=DDPStrategy(process_group_backend="gloo"), **QUIET)
    trainer.strategy.connect()
    module: L.LightningModule = Regression()
    module.trainer = trainer
    mine = torch.tensor([1.0 + offset + trainer.global_rank], device=trainer.strategy.root_device)
    return {
        "gathered": module.all_gather(mine).flatten().tolist(),
        "sum": trainer.strategy.reduce(mine, reduce_op="sum").tolist(),
        "decided": trainer.strategy.reduce_boolean_decision(trainer.global_rank == 1, all=False),
        "told": trainer.strategy.broadcast({"rank": trainer.global_rank})["rank"],
    }
