"""When EarlyStopping stops, and what the progress output says."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

import leyden as L
from engine.programs import QUIET, Regression, loader
from leyden.callbacks import EarlyStopping, LineProgressBar
from leyden.errors import MisconfigurationError


class Scores(Regression):
    """Validates to a given score each epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", self.scores[self.current_epoch])


def epochs_run(scores: list[float], *callbacks: L.Callback, **options: Any) -> int:
    trainer = L.Trainer(max_epochs=len(scores), callbacks=list(callbacks), **QUIET, **options)
    trainer.fit(Scores(scores), loader(8), loader(4))
    return trainer.current_epoch


@pytest.mark.parametrize(
    "scores, options, epochs",
    [
        pytest.param([5.0, 4.0, 3.0, 2.0], {"patience": 1}, 4, id="improves-to-the-end"),
        pytest.param([5.0, 6.0, 7.0, 1.0], {"patience": 2}, 3, id="patience-is-used-up"),
        pytest.param([5.0, 6.0, 4.0, 6.0, 1.0], {"patience": 2}, 5, id="an-improvement-renews-patience"),
        pytest.param([5.0, 4.9, 4.8, 1.0], {"patience": 2, "min_delta": 0.5}, 3, id="too-small-to-count"),
        pytest.param([5.0, 4.0, 3.0], {"patience": 1, "mode": "max"}, 2, id="higher-is-better"),
        pytest.param([5.0, math.nan, 1.0], {}, 2, id="not-a-number"),
        pytest.param([5.0, math.inf, 1.0], {"check_finite": False}, 3, id="infinite-but-allowed"),
        pytest.param([5.0, 0.5, 0.1], {"stopping_threshold": 1.0}, 2, id="good-enough"),
        pytest.param([5.0, 50.0, 1.0], {"divergence_threshold": 10.0}, 2, id="hopeless"),
        pytest.param([5.0, 6.0, 7.0], {"patience": 1, "check_on_train_epoch_end": False}, 2, id="after-validation"),
    ],
)
def test_early_stopping_ends_after(scores: list[float], options: dict[str, Any], epochs: int) -> None:
    assert epochs_run(scores, EarlyStopping("score", **options)) == epochs


def test_the_least_number_of_epochs_comes_first() -> None:
    assert epochs_run([1.0, 2.0, 3.0, 4.0, 5.0], EarlyStopping("score", patience=1), min_epochs=4) == 4


def test_patience_is_part_of_the_state() -> None:
    before, after = EarlyStopping("score", patience=3), EarlyStopping("score", patience=3)
    epochs_run([1.0, 2.0, 3.0], before)
    after.load_state_dict(before.state_dict())
    assert epochs_run([4.0, 0.5], after) == 1
    assert float(after.best_score) == 1.0


@pytest.mark.parametrize(
    "options, sentence",
    [
        pytest.param({"monitor": "scor"}, "monitors 'scor', but the metrics are: loss.*score", id="unknown-metric"),
        pytest.param({"monitor": "score", "mode": "least"}, "mode='least'.*'min', 'max'", id="mode"),
        pytest.param({"monitor": "score", "patience": -1}, "patience=-1.*at least 0", id="patience"),
    ],
)
def test_early_stopping_says_what_is_wrong(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MisconfigurationError, match=sentence):
        epochs_run([1.0], EarlyStopping(**options))


class Shown(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("shown", 0.5, prog_bar=True)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    "refresh_seconds, batches",
    [
        pytest.param(1e-9, ["1/3", "2/3", "3/3", "3/3"], id="every-batch-and-the-end"),
        pytest.param(1e9, ["1/3", "3/3"], id="the-first-batch-and-the-end"),
    ],
)
def test_progress_lines_away_from_a_terminal(
    capsys: pytest.CaptureFixture[str], refresh_seconds: float, batches: list[str]
) -> None:
    trainer = L.Trainer(
        max_epochs=1, callbacks=LineProgressBar(refresh_seconds), **{**QUIET, "enable_progress_bar": True}
    )
    trainer.fit(Shown(), loader(12))
    lines = capsys.readouterr().out.splitlines()
    form = re.compile(r"epoch 1/1 batch (\S+) \d+\.\d it/s( \d+s left)? shown=0\.5")
    shown = [form.fullmatch(line) for line in lines]
    assert [match[1] for match in shown if match] == batches, lines
    assert all(bool(match[2]) != (match[1] == "3/3") for match in shown if match)


def test_a_terminal_shows_one_line_that_is_rewritten(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    trainer = L.Trainer(max_epochs=1, callbacks=LineProgressBar(1e-9), **{**QUIET, "enable_progress_bar": True})
    trainer.fit(Shown(), loader(12))
    output = capsys.readouterr().out
    assert output.count("\x1b[2K") == 4
    assert (output.count("\r"), output.count("\n")) == (3, 1) and output.endswith("\n")
