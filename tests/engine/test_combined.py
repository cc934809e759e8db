"""Several loaders at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader, same, weights
from leyden.combined import CombinedLoader
from leyden.errors import MisconfigurationError

LONG, SHORT = ["a", "b", "c"], ["x"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min_size", [({"one": "a", "other": "x"}, 0, 0)]),
        (
            "max_size",
            [
                ({"one": "a", "other": "x"}, 0, 0),
                ({"one": "b", "other": None}, 1, 0),
                ({"one": "c", "other": None}, 2, 0),
            ],
        ),
        (
            "max_size_cycle",
            [
                ({"one": "a", "other": "x"}, 0, 0),
                ({"one": "b", "other": "x"}, 1, 0),
                ({"one": "c", "other": "x"}, 2, 0),
            ],
        ),
        ("sequential", [("a", 0, 0), ("b", 1, 0), ("c", 2, 0), ("x", 0, 1)]),
    ],
)
def test_modes(mode: str, expected: list[Any]) -> None:
    class Letters:
        def __init__(self, letters: list[str]) -> None:
            self.letters = letters

        def __iter__(self) -> Any:
            return iter(self.letters)

        def __len__(self) -> int:
            return len(self.letters)

    combined = CombinedLoader({"one": Letters(LONG), "other": Letters(SHORT)}, mode)
    assert list(combined) == expected and len(combined) == len(expected)


def test_loaders_begin_anew_only_while_one_goes_on() -> None:
    class Counted(list[str]):
        begun = 0

        def __iter__(self) -> Any:
            self.begun += 1
            return super().__iter__()

    class Loader:
        def __init__(self, batches: Counted) -> None:
            self.batches = batches

        def __iter__(self) -> Any:
            return iter(self.batches)

    short, long = Counted(["x"]), Counted(["a", "b"])
    assert len(list(CombinedLoader([Loader(short), Loader(long)], "max_size_cycle"))) == 2
    assert (short.begun, long.begun) == (3, 1)


def test_an_unknown_mode_names_the_known() -> None:
    with pytest.raises(MisconfigurationError, match=r"mode='shortest' .* 'min_size'"):
        CombinedLoader([], "shortest")


class Two(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch["one"], batch_idx) + super().training_step(batch["other"], batch_idx)


def test_a_run_over_two_loaders_resumes_in_mid_epoch_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def run(steps: int, path: Path | None = None) -> L.Trainer:
        torch.manual_seed(1)
        trainer = L.Trainer(**QUIET, max_epochs=-1, max_steps=steps)
        trainer.fit(Two(), {"one": loader(16), "other": loader(16)}, ckpt_path=path)
        return trainer

    run(6).save_checkpoint(tmp_path / "one.ckpt")
    assert same(weights(run(9).lightning_module), weights(run(9, tmp_path / "one.ckpt").lightning_module))
