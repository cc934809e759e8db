"""The order of all hooks in a small fit, as Lightning 2 has it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.callbacks.base import Callback
from leyden.hooks import CALLBACK_HOOKS, MODULE_HOOKS, SHARED_HOOKS

STEPS = ("training_step", "validation_step", "optimizer_step", "optimizer_zero_grad", "backward")
PLACES = ("prepare_data", "setup", "teardown", "configure_model", "configure_callbacks", "configure_optimizers")
LOADERS = ("train_dataloader", "val_dataloader")
CLIPPING = ("configure_gradient_clipping", "clip_gradients")


class Recorded(Regression):
    def train_dataloader(self) -> Any:
        return loader(8)

    def val_dataloader(self) -> Any:
        return loader(4, shuffle=False)


def recording(kind: type, names: list[str], prefix: str, calls: list[str]) -> type:
    """A subclass that notes each call after it returned."""

    def noting(name: str) -> Any:
        original = getattr(kind, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            calls.append(prefix + name)
            return result

        return method

    return type(f"Recording{kind.__name__}", (kind,), {name: noting(name) for name in names})


VALIDATION = [
    "cb.on_validation_start",
    "on_validation_start",
    "cb.on_validation_epoch_start",
    "on_validation_epoch_start",
    "cb.on_validation_batch_start",
    "on_validation_batch_start",
    "validation_step",
    "cb.on_validation_batch_end",
    "on_validation_batch_end",
    "cb.on_validation_epoch_end",
    "on_validation_epoch_end",
    "cb.on_validation_end",
    "on_validation_end",
]

BATCH = [
    "cb.on_train_batch_start",
    "on_train_batch_start",
    "training_step",
    "cb.on_before_zero_grad",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "cb.on_before_backward",
    "on_before_backward",
    "backward",
    "cb.on_after_backward",
    "on_after_backward",
    "cb.on_before_optimizer_step",
    "on_before_optimizer_step",
    "clip_gradients",
    "configure_gradient_clipping",
    "optimizer_step",
    "cb.on_train_batch_end",
    "on_train_batch_end",
]

FIT = [
    "configure_callbacks",
    "prepare_data",
    "cb.setup",
    "setup",
    "configure_model",
    "configure_optimizers",
    "cb.on_fit_start",
    "on_fit_start",
    "cb.on_sanity_check_start",
    "val_dataloader",
    *VALIDATION,
    "cb.on_sanity_check_end",
    "train_dataloader",
    "cb.on_train_start",
    "on_train_start",
    "cb.on_train_epoch_start",
    "on_train_epoch_start",
    *BATCH,
    *BATCH,
    "on_validation_model_zero_grad",
    *VALIDATION,
    "cb.on_train_epoch_end",
    "on_train_epoch_end",
    "cb.on_train_end",
    "on_train_end",
    "cb.on_fit_end",
    "on_fit_end",
    "cb.teardown",
    "teardown",
]


def run(extra: dict[str, Any] | None = None) -> list[str]:
    calls: list[str] = []
    names = [*SHARED_HOOKS, *STEPS, *PLACES, *LOADERS, *CLIPPING, "on_validation_model_zero_grad"]
    module = recording(Recorded, [name for name in names if hasattr(Recorded, name)], "", calls)()
    watcher = recording(Callback, [*SHARED_HOOKS, *CALLBACK_HOOKS, "setup", "teardown"], "cb.", calls)()
    options = {**QUIET, "num_sanity_val_steps": 1, **(extra or {})}
    trainer = L.Trainer(max_epochs=1, callbacks=[watcher], **options)
    trainer.fit(module)
    return calls


def test_fit_calls_every_hook_in_lightnings_order() -> None:
    assert run() == FIT


def test_an_accumulating_batch_takes_no_step() -> None:
    calls = run({"accumulate_grad_batches": 2})
    assert calls.count("optimizer_step") == 1
    assert calls.count("training_step") == calls.count("backward") == 2
    assert calls.count("optimizer_zero_grad") == 1


def test_the_table_knows_every_hook_of_a_module() -> None:
    tabled = {*SHARED_HOOKS, *CALLBACK_HOOKS, *MODULE_HOOKS, "on_epoch_start", "on_epoch_end"}
    of_callbacks = {name for name in vars(Callback) if name.startswith("on_")}
    assert of_callbacks - tabled == {"on_save_checkpoint", "on_load_checkpoint"}


class OlderNames(Recorded):
    """The names that Lightning 1 had."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def on_epoch_start(self) -> None:
        self.calls.append("on_epoch_start")

    def on_epoch_end(self) -> None:
        self.calls.append("on_epoch_end")

    def on_train_epoch_start(self) -> None:
        self.calls.append("on_train_epoch_start")

    def on_train_epoch_end(self) -> None:
        self.calls.append("on_train_epoch_end")

    def optimizer_step(  # type: ignore[override]  # Lightning 1's shape
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any
    ) -> None:
        self.calls.append(f"optimizer {optimizer_idx}")
        optimizer.step(closure=optimizer_closure)


def test_older_names_still_work() -> None:
    module = OlderNames()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    L.Trainer(max_epochs=1, num_sanity_val_steps=0, **options).fit(module)
    epoch = ["on_epoch_start", "on_epoch_end"]
    assert module.calls == [
        "on_epoch_start",
        "on_train_epoch_start",
        "optimizer 0",
        "optimizer 0",
        *epoch,  # the validation's
        "on_train_epoch_end",
        "on_epoch_end",
    ]


def test_older_names_work_in_callbacks_that_watch_metrics() -> None:
    calls: list[str] = []

    class Stopping(L.callbacks.EarlyStopping):
        def on_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            calls.append(trainer.state.stage or "")

    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    stopping = Stopping("val", strict=False)
    L.Trainer(max_epochs=1, num_sanity_val_steps=0, callbacks=stopping, **options).fit(OlderNames())
    assert calls == ["validate", "train"]


def test_minus_one_skips_the_rest_of_the_epoch() -> None:
    class Impatient(Recorded):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 1 else None

    module = Impatient()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=2, num_sanity_val_steps=0, **options)
    trainer.fit(module)
    assert trainer.global_step == 2


def test_batch_transfer_hooks_are_used_only_when_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubling(Recorded):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] * 0, *batch[1:]]

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            assert not batch[0].any()
            return super().training_step(batch, batch_idx)

    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    L.Trainer(max_epochs=1, num_sanity_val_steps=0, **options).fit(Doubling())
