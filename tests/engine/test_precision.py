"""Number formats: types of parameters and activations, and the gradient scaler's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import QUIET, Regression, loader, same, weights
from leyden.errors import MisconfigurationError


class Notes(Regression):
    """Notes the types in its last step."""

    types: dict[str, torch.dtype]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        outputs = self(batch[0])
        self.types = {
            "input": batch[0].dtype,
            "number": batch[2].dtype,
            "output": outputs.dtype,
            "parameter": next(self.parameters()).dtype,
            "made": torch.zeros(1).dtype,
        }
        return super().training_step(batch, batch_idx)


FULL, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16


@pytest.mark.parametrize(
    ("precision", "parameter", "output", "made"),
    [
        (None, FULL, FULL, FULL),
        (64, DOUBLE, DOUBLE, DOUBLE),
        ("32-true", FULL, FULL, FULL),
        ("bf16", FULL, BRAIN, FULL),
        (16, FULL, HALF, FULL),
        ("bf16-true", BRAIN, BRAIN, BRAIN),
        ("16-true", HALF, HALF, HALF),
    ],
)
def test_types(precision: Any, parameter: torch.dtype, output: torch.dtype, made: torch.dtype) -> None:
    module = Notes()
    L.Trainer(**QUIET, max_epochs=1, precision=precision).fit(module, loader(4))
    inputs = parameter if parameter is made else FULL
    expected = {"input": inputs, "number": torch.int64, "output": output, "parameter": parameter, "made": made}
    assert module.types == expected
    assert torch.get_default_dtype() == FULL


def test_the_scaler_goes_on_where_its_checkpoint_stood(tmp_path: Path) -> None:
    def run(epochs: int, path: Path | None = None) -> L.Trainer:
        torch.manual_seed(1)
        trainer = L.Trainer(**QUIET, max_epochs=epochs, precision="16-mixed", gradient_clip_val=0.5)
        trainer.fit(Regression(dropout=0.0), loader(8, shuffle=False), ckpt_path=path)
        return trainer

    run(2).save_checkpoint(tmp_path / "one.ckpt")
    kept = torch.load(tmp_path / "one.ckpt", weights_only=True)["MixedPrecision"]
    assert kept["scale"] < 65536, "the first scale is too high for float16, so it was halved"
    whole, resumed = run(4), run(4, tmp_path / "one.ckpt")
    assert same(weights(whole.lightning_module), weights(resumed.lightning_module))
    scalers = [trainer.precision_plugin.scaler for trainer in (whole, resumed)]
    states = [scaler.state_dict() for scaler in scalers if scaler is not None]
    assert len(states) == 2 and states[0] == states[1]


def test_an_unknown_precision_names_the_known() -> None:
    with pytest.raises(MisconfigurationError, match=r"precision='8-bit' .* '64-true', '32-true', '16-mixed'"):
        L.Trainer(precision="8-bit")
