"""What people see of a run: the bar by its names and arguments, and the table of layers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.callbacks import LineProgressBar, ProgressBar, RichModelSummary, RichProgressBar, TQDMProgressBar
from leyden.callbacks.progress import RichProgressBarTheme
from leyden.errors import MisconfigurationError
from leyden.loggers import DummyLogger
from leyden.summary import ModelSummary


class Shown(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("shown", 0.51234, prog_bar=True)
        return super().training_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return batch[0]


def run(bar: ProgressBar, **options: Any) -> L.Trainer:
    settings = {**QUIET, "enable_progress_bar": True, "max_epochs": 2, "callbacks": [bar], **options}
    trainer = L.Trainer(**settings)
    trainer.fit(Shown(), loader(16), loader(8, shuffle=False))
    return trainer


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("leyden.callbacks.progress.TERMINAL_SECONDS", 1e-9)


@pytest.mark.parametrize(
    ("bar", "shown", "lines"),
    [
        pytest.param(lambda: TQDMProgressBar(refresh_rate=2), 2 * (2 + 1 + 1), 1, id="every-second-batch"),
        pytest.param(lambda: TQDMProgressBar(leave=True, process_position=3), 2 * (4 + 2 + 1), 2, id="leave"),
        pytest.param(lambda: TQDMProgressBar(refresh_rate=0), 0, 0, id="none"),
        pytest.param(lambda: RichProgressBar(refresh_rate=0), 0, 0, id="none-of-rich"),
    ],
)
def test_a_terminal_gets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bar: Any, shown: int, lines: int
) -> None:
    on_a_terminal(monkeypatch)
    run(bar())
    output = capsys.readouterr().out
    assert (output.count("\x1b[2K"), output.count("\n")) == (shown, lines), output


def test_evaluations_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)

    class Named(LineProgressBar):
        @property
        def validation_description(self) -> str:
            return "checking"

    trainer = run(Named(1e-9), num_sanity_val_steps=1)
    trainer.predict(Shown(), [loader(8, shuffle=False), loader(4, shuffle=False)])
    output = capsys.readouterr().out
    for expected in (
        "sanity check batch 1/1",
        "checking batch 2/2",
        "prediction 1/2 batch 2/2",
        "prediction 2/2 batch",
    ):
        assert expected in output, output


def test_what_is_shown_can_be_overridden(capsys: pytest.CaptureFixture[str]) -> None:
    class Own(RichProgressBar):
        def get_metrics(self, trainer: Any, pl_module: Any) -> Any:
            items = super().get_metrics(trainer, pl_module)
            assert items.pop("v_num") == "on-3"
            return {**items, "name": "mine", "count": 3}

    class Versioned(DummyLogger):
        version = "version-3"

    run(Own(theme=RichProgressBarTheme(metrics_format=".2f")), logger=Versioned(), max_epochs=1)
    assert re.search(r"epoch 1/1 batch 4/4 .* shown=0\.51 name=mine count=3$", capsys.readouterr().out, re.M)


def test_a_bar_knows_the_batches_of_its_run() -> None:
    totals: list[float] = []

    class Asking(ProgressBar):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            totals.extend([self.total_train_batches, self.total_val_batches, self.total_val_batches_current_dataloader])

    with pytest.raises(MisconfigurationError, match="Asking has no Trainer yet"):
        _ = Asking().trainer
    bar = Asking()
    run(bar, max_epochs=1)
    assert totals == [4, 2, 2] and bar.is_enabled
    bar.disable()
    assert bar.is_disabled and not bar.is_enabled


@pytest.mark.parametrize("kind", [TQDMProgressBar, RichProgressBar])
def test_a_rate_below_nothing_is_refused(kind: Any) -> None:
    with pytest.raises(MisconfigurationError, match="refresh_rate=-1 is not allowed"):
        kind(refresh_rate=-1)


class Sized(L.LightningModule):
    def __init__(self, example: Any) -> None:
        super().__init__()
        self.example_input_array = example
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.unused = nn.Linear(1, 1)

    def forward(self, inputs: Any, factor: Any = 1.0) -> Any:
        return self.encoder(inputs) * factor + torch.rand(1).to(inputs) * 0  # draws, in evaluation too


@pytest.mark.parametrize(
    "example",
    [torch.ones(3, 4), (torch.ones(3, 4), torch.ones(1)), {"inputs": torch.ones(3, 4), "factor": torch.ones(1)}],
    ids=["tensor", "tuple", "dict"],
)
def test_the_summary_has_sizes_with_an_example_and_leaves_no_trace(example: Any) -> None:
    module = Sized(example)
    module.unused.eval()
    before, generator = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    summary = ModelSummary(module, max_depth=2)
    assert summary.layer_names == ["encoder", "encoder.0", "encoder.1", "encoder.2", "unused"]
    assert summary.in_sizes == [[3, 4], [3, 4], [3, 8], [3, 8], "?"]
    assert summary.out_sizes == [[3, 8]] * 4 + ["?"]
    assert (summary.total_parameters, summary.trainable_parameters, summary.training_modes[-1]) == (58, 58, False)
    assert module.encoder.training and all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    table = str(summary).splitlines()
    assert re.split(r" +\| +", table[0].strip()) == [
        "| Name",
        "Type",
        "Params",
        "Mode",
        "In sizes",
        "Out sizes",
    ]
    assert table[-1] == "58 parameters, 58 of them trained, 0.000 MB in memory"


def test_the_summary_is_printed_in_the_runs_precision(capsys: pytest.CaptureFixture[str]) -> None:
    class Half(Sized):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0]).float().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = RichModelSummary(max_depth=-1)
    settings = {
        **QUIET,
        "max_steps": 1,
        "precision": "bf16-true",
        "enable_model_summary": True,
        "callbacks": [callback],
    }
    L.Trainer(**settings).fit(Half(torch.ones(3, 4)), loader(8))
    assert "encoder.1 | BatchNorm1d | 16     | train | [3, 8]   | [3, 8]" in capsys.readouterr().out


@pytest.mark.parametrize("depth", [-2, 1.5, True])
def test_a_wrong_depth_is_refused(depth: Any) -> None:
    with pytest.raises(
        MisconfigurationError, match=r"max_depth=.* is not allowed: it must be an integer of at least -1"
    ):
        ModelSummary(nn.Linear(1, 1), depth)
