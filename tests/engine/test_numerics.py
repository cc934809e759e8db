"""The trainer computes what a plain torch loop computes, to the last bit."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

import leyden as L
from engine.programs import DEVICE, QUIET, Adversaries, Regression, loader, same, weights

EPOCHS = 3


def raw_loop(mixed: bool, accumulate: int, clip: float | None, workers: int) -> dict[str, torch.Tensor]:
    """The loop that a user would write by hand."""
    torch.manual_seed(3)
    module = Regression().to(DEVICE)
    (optimizer,), (scheduler,) = module.configure_optimizers()
    batches = loader(num_workers=workers)
    for _ in range(EPOCHS):
        module.train()
        optimizer.zero_grad()
        for index, (inputs, targets, _) in enumerate(batches):
            inputs, targets = inputs.to(DEVICE), targets.to(DEVICE)
            with torch.autocast(DEVICE.type, torch.bfloat16) if mixed else nullcontext():
                loss = nn.functional.mse_loss(module(inputs), targets)
            (loss / accumulate if accumulate > 1 else loss).backward()
            if (index + 1) % accumulate == 0 or index + 1 == len(batches):
                if clip is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
        scheduler.step()
    return weights(module)


def trained(**options: Any) -> dict[str, torch.Tensor]:
    workers = options.pop("workers", 0)
    torch.manual_seed(3)
    module = Regression()
    L.Trainer(max_epochs=EPOCHS, **QUIET, **options).fit(module, loader(num_workers=workers))
    return weights(module)


@pytest.mark.parametrize(
    "mixed, accumulate, clip, workers",
    [
        pytest.param(False, 1, None, 0, id="plain"),
        pytest.param(False, 2, None, 0, id="accumulated-with-a-short-last-window"),
        pytest.param(False, 1, 0.1, 0, id="clipped-by-norm"),
        pytest.param(True, 1, None, 0, id="bf16-mixed"),
        pytest.param(False, 1, None, 1, id="with-a-loader-worker"),
    ],
)
def test_weights_are_bit_equal_to_a_raw_loop(mixed: bool, accumulate: int, clip: float | None, workers: int) -> None:
    options = {
        "precision": "bf16-mixed" if mixed else "32-true",
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": clip,
        "workers": workers,
    }
    assert same(trained(**options), raw_loop(mixed, accumulate, clip, workers))


def test_precision_matters_and_leaves_float32_weights() -> None:
    mixed = trained(precision="bf16-mixed")
    assert not same(mixed, trained())
    assert {value.dtype for value in mixed.values()} == {torch.float32}


def test_clipping_by_value_bounds_each_gradient() -> None:
    seen = []

    class Watched(Regression):
        def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
            super().configure_gradient_clipping(*args, **kwargs)
            seen.append(max(float(p.grad.abs().max()) for p in self.parameters() if p.grad is not None))

    L.Trainer(max_epochs=1, gradient_clip_val=0.01, gradient_clip_algorithm="value", **QUIET).fit(Watched(), loader())
    assert seen and max(seen) <= 0.01


def test_validation_leaves_no_trace_in_training() -> None:
    torch.manual_seed(3)
    module = Regression()
    trainer = L.Trainer(max_epochs=EPOCHS, **{**QUIET, "num_sanity_val_steps": 2})
    trainer.fit(module, loader(), [(torch.randn(2, 4, generator=torch.Generator()), torch.zeros(2, 1), 0)])
    assert same(weights(module), raw_loop(False, 1, None, 0))


def test_manual_optimization_steps_are_the_users_own() -> None:
    torch.manual_seed(3)
    module = Adversaries()
    trainer = L.Trainer(max_epochs=2, **QUIET)
    trainer.fit(module, loader())
    torch.manual_seed(3)
    raw = Adversaries().to(DEVICE)
    optimizers = raw.configure_optimizers()
    batches = loader()
    for _ in range(2):
        for batch in batches:
            inputs, targets, _ = (part.to(DEVICE) for part in batch)
            for part, optimizer in zip((raw.one, raw.two), optimizers, strict=True):
                optimizer.zero_grad()
                nn.functional.mse_loss(part(inputs), targets).backward()
                optimizer.step()
    assert same(weights(module), weights(raw))
    assert trainer.global_step == 2 * 2 * len(batches)


@pytest.mark.parametrize(
    "interval, steps", [pytest.param("epoch", 3, id="epochs"), pytest.param("step", 15, id="steps")]
)
def test_schedulers_step_by_their_interval(interval: str, steps: int) -> None:
    class Scheduled(Regression):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    trainer = L.Trainer(max_epochs=EPOCHS, **QUIET)
    trainer.fit(Scheduled(), loader())
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.5**steps


def test_a_plateau_scheduler_follows_its_metric() -> None:
    class Flat(Regression):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", 1.0)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}

    trainer = L.Trainer(max_epochs=3, **QUIET)
    trainer.fit(Flat(), loader(), loader(shuffle=False))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.25
