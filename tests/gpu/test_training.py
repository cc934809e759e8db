"""Training on a CUDA device: nothing waits for it that need not, and runs resume bit-equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import leyden as L
from engine import jobs
from engine.programs import QUIET, SAVING, Regression, loader, same, weights
from leyden.callbacks import CheckpointDirectory, DeviceStatsMonitor, ModelCheckpoint, ThroughputMonitor
from leyden.loggers import CSVLogger
from leyden.profilers import PyTorchProfiler
from leyden.tuner import Tuner


class Busy(L.LightningModule):
    """Logs in every way, and must not be made to wait from its third batch to its last but one."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.batches = batches
        self.watched = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.mse_loss(self.network(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict({"smallest": loss, "constant": 1.0}, reduce_fx="min", on_step=False, on_epoch=True)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if 2 <= batch_idx < self.batches - 1 else "default")
        self.watched += torch.cuda.get_sync_debug_mode() == 2

    def on_train_epoch_end(self) -> None:
        torch.cuda.set_sync_debug_mode("default")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 5), "interval": "step"}]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"precision": "bf16-mixed"}, id="bf16-mixed"),
        pytest.param({"precision": "bf16-true"}, id="bf16-true"),
        pytest.param({"accumulate_grad_batches": 3}, id="accumulation"),
        pytest.param({"gradient_clip_val": 0.1}, id="clipping by norm"),
        pytest.param({"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}, id="clipping by value"),
        pytest.param({"strategy": "ddp"}, id="ddp"),
        pytest.param({"callbacks": [ThroughputMonitor(len)]}, id="throughput"),
        pytest.param({"enable_progress_bar": True}, id="bar"),
    ],
)
def test_a_step_does_not_wait_for_the_device(options: dict[str, Any], tmp_path: Path) -> None:
    module = Busy(batches=20)
    trainer = L.Trainer(
        **{**QUIET, "logger": CSVLogger(tmp_path), **options},
        max_epochs=1,
        log_every_n_steps=1000,
    )
    try:
        trainer.fit(module, loader(40, 2, pin_memory=True))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert module.watched == 17


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_a_killed_run_resumes_bit_equal(tmp_path: Path, precision: str) -> None:
    options: dict[str, Any] = {"precision": precision, "gradient_clip_val": 0.5}
    whole = jobs.train(str(tmp_path / "whole"), **options)
    killed = jobs.train(str(tmp_path / "killed"), kill_after=7, **options)
    assert killed["killed"] and not same(killed["weights"], whole["weights"])
    resumed = jobs.train(str(tmp_path / "killed"), **options)
    assert same(resumed["weights"], whole["weights"])
    assert resumed["metrics"] == whole["metrics"]


class Large(L.LightningModule):
    """Weights that every step overwrites, while they are being copied; the loss is their sum."""

    def __init__(self, megabytes: int = 256) -> None:
        super().__init__()
        self.large = nn.Parameter(torch.zeros(megabytes * 250_000))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.large.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_a_checkpoint_holds_one_step_though_training_goes_on(tmp_path: Path) -> None:
    keeper = CheckpointDirectory(tmp_path, every_n_steps=2, keep_last=100)
    L.Trainer(max_epochs=1, callbacks=[keeper], **SAVING).fit(Large(), loader(20, 1))
    for step in range(2, 21, 2):
        kept = Large.load_from_checkpoint(tmp_path / f"step-{step:012d}")
        assert kept.large.unique().tolist() == [-float(step)]


def test_a_files_tensors_load_where_no_device_is(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, save_last=True)
    module = Regression()
    L.Trainer(max_epochs=1, callbacks=[saver], **SAVING).fit(module, loader())
    kept = Regression.load_from_checkpoint(saver.last_model_path, map_location="cpu")
    assert {value.device.type for value in kept.state_dict().values()} == {"cpu"}
    assert same(weights(kept), weights(module))


@pytest.mark.parametrize("method", ["fit", "validate"])
def test_the_batch_size_that_fits_the_device_is_found(method: str) -> None:
    class Hungry(Regression):
        batch_size = 2

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            torch.empty(len(batch[0]) * 2**20, dtype=torch.uint8, device=self.device)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.empty(len(batch[0]) * 2**20, dtype=torch.uint8, device=self.device)
            super().validation_step(batch, batch_idx)

        def train_dataloader(self) -> Any:
            return loader(1024, self.batch_size)

        val_dataloader = train_dataloader

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400 * 2**20) / total)
    try:
        module = Hungry()
        found = Tuner(L.Trainer(**QUIET, max_epochs=1)).scale_batch_size(module, method=method)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found == module.batch_size == 256


def test_the_devices_memory_is_logged_and_its_kernels_are_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = L.Trainer(
        **{**QUIET, "logger": CSVLogger(tmp_path)},
        max_epochs=1,
        callbacks=[DeviceStatsMonitor()],
        log_every_n_steps=1,
        profiler=PyTorchProfiler(tmp_path),
    )
    trainer.fit(Regression(), loader())
    (written,) = tmp_path.rglob("metrics.csv")
    assert "DeviceStatsMonitor.on_train_batch_end/allocated_bytes.all.current" in written.read_text()
    assert "Self CUDA" in capsys.readouterr().out


def test_a_compiled_module_trains_as_the_plain_one() -> None:
    def train(compiled: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        module = Regression(dropout=0.0)
        if compiled:
            module.compile()
        L.Trainer(max_epochs=2, **QUIET).fit(module, loader(shuffle=False))
        return weights(module)

    plain, compiled = train(False), train(True)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value)
