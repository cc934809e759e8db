"""Callbacks, beyond the course that the comparison with Lightning follows: what they print, keep and refuse."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import leyden as L
from engine.programs import QUIET, Kept, Regression, loader, same, weights
from leyden.callbacks import (
    BackboneFinetuning,
    BasePredictionWriter,
    DeviceStatsMonitor,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateMonitor,
    ModelSummary,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
)
from leyden.errors import MisconfigurationError
from leyden.settings import timedelta_of
from leyden.summary import summarize


def trained(*callbacks: L.Callback, module: L.LightningModule | None = None, **options: Any) -> L.Trainer:
    trainer = L.Trainer(**{**QUIET, "max_epochs": 2, "log_every_n_steps": 1, **options}, callbacks=list(callbacks))
    trainer.fit(module or Regression(dropout=0.0), loader(8, shuffle=False))
    return trainer


def test_the_summary_names_layers_down_to_a_depth() -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Linear(2, 1, bias=False))
    module[1].requires_grad_(False)
    shallow, deep, sums = (str(summarize(module, depth)) for depth in (1, -1, 0))
    assert "Linear" in shallow and "BatchNorm1d" not in shallow and "| 0.0 " not in shallow
    assert "| 0.1 " in deep and "BatchNorm1d" in deep
    assert sums.splitlines()[-1] == "14 parameters, 12 of them trained, 0.000 MB in memory"


def test_the_trainer_prints_the_summary_unless_told_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    trained(enable_model_summary=True)
    assert "network | Sequential" in capsys.readouterr().out
    trained()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [("01:02:03:04", 93784.0), (timedelta(minutes=2), 120.0), ({"hours": 1, "seconds": 5}, 3605.0)],
)
def test_durations(given: Any, expected: float) -> None:
    assert timedelta_of("max_time", given).total_seconds() == expected


@pytest.mark.parametrize("given", ["1:2", "soon", {"weeks": 1, "moons": 2}, 7])
def test_what_is_no_duration_is_refused(given: Any) -> None:
    with pytest.raises(MisconfigurationError, match=r"max_time=.*DD:HH:MM:SS"):
        L.Trainer(max_time=given)


def test_the_timer_counts_on_from_its_checkpoint_and_ends_training() -> None:
    timer = Timer({"hours": 2})
    timer.load_state_dict({"time_elapsed": {"train": 7199.5}})
    assert 0 < timer.time_remaining() <= 0.5  # type: ignore[operator]  # it has a duration
    timer.load_state_dict({"time_elapsed": {"train": 7201.0}})
    trainer = trained(timer)
    assert trainer.global_step == 0 and trainer.should_stop


def test_max_time_is_a_timer() -> None:
    trainer = trained(max_time={"seconds": 0})
    assert trainer.global_step == 0
    assert any(isinstance(callback, Timer) for callback in trainer.callbacks)


def test_predictions_come_with_the_samples_they_are_of() -> None:
    batches: list[Any] = []

    class Writer(BasePredictionWriter):
        def write_on_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            prediction: Any,
            batch_indices: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int,
        ) -> None:
            batches.append((batch[2].tolist(), batch_indices))

    class Predicting(Regression):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0])

    trainer = L.Trainer(**QUIET, callbacks=[Writer()])
    assert trainer.predict(Predicting(), loader(10, num_workers=1), return_predictions=False) is None
    assert [seen for seen, _ in batches] == [indices for _, indices in batches]
    assert sorted(index for _, indices in batches for index in indices) == list(range(10))


def test_a_run_that_breaks_leaves_a_checkpoint(tmp_path: Path) -> None:
    class Breaks(Regression):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.global_step == 3:
                raise ValueError("broken")

    module = Breaks()
    with pytest.raises(ValueError, match="broken"):
        trained(OnExceptionCheckpoint(tmp_path), module=module, enable_checkpointing=None)
    found = torch.load(tmp_path / "on_exception.ckpt", weights_only=True)
    assert found["global_step"] == 3 and same(found["state_dict"], weights(module))


def test_a_hook_that_breaks_too_does_not_keep_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("in the hook")

    trainer, released = L.Trainer(**QUIET, callbacks=[LambdaCallback(on_exception=refuse)]), []
    monkeypatch.setattr(trainer.strategy, "release", lambda module, optimizers: released.append(module))
    module = Regression()
    with pytest.raises(ValueError, match="in the hook") as caught:
        trainer.fit(module, [object()])
    assert released == [module]
    assert caught.value.__context__ is not None, "what broke first is shown as well"


def test_throughput_is_logged_for_this_process_and_for_all() -> None:
    kept = Kept()
    monitor = ThroughputMonitor(batch_size_fn=lambda batch: len(batch[0]), length_fn=lambda batch: 7)
    trained(monitor, logger=kept)
    rates = [row for _, row in kept.rows if "train/samples_per_sec" in row]
    assert len(rates) == 3, "one for each batch but the first"
    for row in rates:
        assert row["train/samples_per_sec"] == row["train/device/samples_per_sec"] > 0
        assert row["train/device/samples_per_sec"] == pytest.approx(4 * row["train/device/batches_per_sec"])
        assert row["train/device/items_per_sec"] == pytest.approx(7 * row["train/device/batches_per_sec"])


def test_device_stats_of_a_cpu() -> None:
    kept = Kept()
    module = Regression(dropout=0.0)
    module.test_step = module.training_step
    trained(DeviceStatsMonitor(), module=module, logger=kept, max_epochs=1, accelerator="cpu").test(
        module, loader(8), verbose=False
    )
    names = {name for _, row in kept.rows for name in row}
    for stage in ("train", "test"):
        assert {f"DeviceStatsMonitor.on_{stage}_batch_{moment}/cpu_percent" for moment in ("start", "end")} <= names


class Backboned(Regression):
    """``network`` under the name that BackboneFinetuning knows."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.backbone = nn.Linear(4, 4)

    def forward(self, inputs: Any) -> Any:
        return self.network(self.backbone(inputs))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD((p for p in self.parameters() if p.requires_grad), lr=0.1)


def test_a_backbone_is_trained_from_an_epoch_on_and_again_after_a_resume(tmp_path: Path) -> None:
    module, rates = Backboned(), []
    before = weights(module.backbone)

    class Notes(L.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            groups = trainer.optimizers[0].param_groups
            rates.append([round(group["lr"], 6) for group in groups])
            assert trainer.current_epoch >= 2 or same(before, weights(pl_module.backbone))

    def callbacks() -> list[L.Callback]:
        return [BackboneFinetuning(2, lambda_func=lambda epoch: 3.0), Notes()]

    trainer = trained(*callbacks(), module=module, max_epochs=4)
    assert rates == [[0.1], [0.1], [0.1, 0.01], [0.1, 0.03]]
    assert not same(before, weights(module.backbone))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed = L.Trainer(**QUIET, max_epochs=6, callbacks=callbacks())
    resumed.fit(Backboned(), loader(8), ckpt_path=tmp_path / "one.ckpt")
    assert rates[4:] == [[0.1, 0.09], [0.1, 0.1]], "it never exceeds the head's rate"


class Normed(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))

    def forward(self, inputs: Any) -> Any:
        return self.network(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("limit", [1, 2])
def test_averaged_weights_get_batch_norm_statistics_of_their_own(limit: int) -> None:
    module = Normed()
    average = StochasticWeightAveraging(0.05, swa_epoch_start=1)
    trained(average, module=module, max_epochs=3, limit_train_batches=limit)
    norm = module.network[1]
    assert norm.momentum == 0.1 and norm.num_batches_tracked == limit
    with torch.no_grad():
        outputs = [module.network[0](batch[0]) for batch in islice(loader(8, shuffle=False), limit)]
    expected = torch.stack([output.mean(dim=0) for output in outputs]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, expected)


@pytest.mark.parametrize(
    "callback",
    [
        pytest.param(lambda: EMAWeightAveraging(decay=0.5), id="ema"),
        pytest.param(lambda: StochasticWeightAveraging(0.05, swa_epoch_start=1), id="swa"),
    ],
)
def test_an_average_resumes_as_if_nothing_had_happened(tmp_path: Path, callback: Any) -> None:
    def run(epochs: int, path: Path | None = None) -> L.Trainer:
        torch.manual_seed(1)
        module = Regression(dropout=0.0)
        trainer = L.Trainer(**QUIET, max_epochs=epochs, callbacks=[callback(), Saves(tmp_path)])
        trainer.fit(module, loader(8, shuffle=False), ckpt_path=path)
        return trainer

    class Saves(L.Callback):
        watches_metrics = True

        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")

    whole = weights(run(4).lightning_module)
    resumed = weights(run(4, tmp_path / "1.ckpt").lightning_module)
    assert same(whole, resumed)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LambdaCallback(on_trian_start=print), "LambdaCallback hook='on_trian_start'"),
        (lambda: GradientAccumulationScheduler({-1: 2}), "scheduling"),
        (lambda: LearningRateMonitor("hourly"), "logging_interval='hourly'"),
        (lambda: StochasticWeightAveraging(0.0), "swa_lrs=0.0"),
        (lambda: StochasticWeightAveraging(0.1, swa_epoch_start=1.5), "swa_epoch_start=1.5"),
        (lambda: Timer(interval="hour"), "interval='hour'"),
        (lambda: ThroughputMonitor(len, window_size=1), "window_size=1"),
        (lambda: ModelSummary(max_depth=-2), "max_depth=-2"),
        (lambda: BackboneFinetuning(-1), "unfreeze_backbone_at_epoch=-1"),
    ],
)
def test_wrong_arguments_are_named(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationError) as raised:
        make()
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "callback",
    [LearningRateMonitor(), DeviceStatsMonitor()],
    ids=lambda callback: type(callback).__name__,
)
def test_what_only_logs_needs_a_logger(callback: L.Callback) -> None:
    with pytest.raises(MisconfigurationError, match="needs a logger"):
        trained(callback)


def test_accumulation_is_set_in_one_place() -> None:
    with pytest.raises(MisconfigurationError, match="exclude each other"):
        trained(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=2)
