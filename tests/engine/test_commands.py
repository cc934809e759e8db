"""The ``leyden`` command, as a person types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from leyden.commands import COMMANDS, main

ROOT = Path(__file__).parents[2]
CODE = '''
import leyden as L
from leyden.compat.demos import BoringDataModule, BoringModel

class Lit(BoringModel):
    """A line.

    Args:
        rate: how fast it learns
    """
    def __init__(self, rate: float = 0.1, width: int = 8):
        super().__init__()
        self.save_hyperparameters()

class Other(Lit):
    pass

class Data(BoringDataModule):
    def __init__(self, batch_size: int):
        self.batch_size = batch_size
'''
EARLY = ("--trainer.callbacks.monitor=x", "--trainer.callbacks.mode=up")
QUICK = [f"--trainer.{text}" for text in ("max_epochs=1", "limit_train_batches=2", "limit_val_batches=1")]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lines.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "lines", raising=False)
    return tmp_path


Leyden = Any


@pytest.fixture
def leyden(capsys: pytest.CaptureFixture[str]) -> Leyden:
    """Run a command line. Gives the exit code and what was printed, both streams together."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as ended:  # help and --print_config end so
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out + err

    return run


def config_of(printed: str) -> Any:
    return yaml.safe_load(printed)


def test_a_fit_keeps_a_configuration_that_repeats_it(leyden: Leyden, workspace: Path) -> None:
    code, said = leyden("fit", "--model", "lines:Lit", "--data=lines:Data", "--data.batch_size=3", *QUICK)
    assert code == 0, said
    kept = workspace / "lightning_logs/version_0/config.yaml"
    written = yaml.safe_load(kept.read_text())
    assert written["model"] == {"class_path": "lines.Lit", "init_args": {"rate": 0.1, "width": 8}}
    assert written["data"]["init_args"] == {"batch_size": 3}
    code, said = leyden("fit", "--config", str(kept), "--model.rate=0.5")
    assert code == 0, said
    again = yaml.safe_load((workspace / "lightning_logs/version_1/config.yaml").read_text())
    assert again["model"]["init_args"] == {"rate": 0.5, "width": 8}
    assert again["trainer"] == written["trainer"]


def test_later_files_and_then_options_win(leyden: Leyden, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "one.yaml").write_text("model: {rate: 1, width: 1}\ntrainer: {max_epochs: 1, max_steps: 1}")
    (workspace / "two.yaml").write_text("model: {width: 2}\ntrainer: {max_steps: 2}")
    monkeypatch.setenv("PL_TRAINER_MIN_EPOCHS", "5")
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "5")
    _, said = leyden(
        *("fit", "--config", "one.yaml", "--config", "two.yaml", "--model", "lines:Lit"),
        *("--trainer.max_steps", "3", "--print_config"),
    )
    config = config_of(said)
    assert config["model"]["init_args"] == {"rate": 1.0, "width": 2}
    chosen = {name: config["trainer"][name] for name in ("max_steps", "max_epochs", "min_epochs")}
    assert chosen == {"max_steps": 3, "max_epochs": 1, "min_epochs": 5}


def test_callbacks_and_loggers_by_class_path(leyden: Leyden, workspace: Path) -> None:
    (workspace / "c.yaml").write_text(
        """
        trainer:
          logger: {class_path: leyden.loggers.JSONLinesLogger, init_args: {save_dir: logs}}
          callbacks:
            - {class_path: leyden.callbacks.EarlyStopping, init_args: {monitor: x, strict: false}}
            - class_path: leyden.callbacks.LearningRateMonitor
        """
    )
    code, said = leyden("fit", "-c", "c.yaml", "--model", "lines:Lit", *QUICK)
    assert code == 0, said
    assert list((workspace / "logs").rglob("*.jsonl"))


def test_help_lists_the_modules_and_the_trainers_arguments(leyden: Leyden) -> None:
    code, said = leyden("fit", "--model", "lines:Lit", "--data", "lines:Data", "--help")
    said = " ".join(said.split())
    assert code == 0
    for line in (
        "--model.rate RATE how fast it learns (type: float, default: 0.1)",
        "--data.batch_size BATCH_SIZE (required, type: int)",
        "--trainer.max_epochs MAX_EPOCHS (type: int | null, default: null)",
    ):
        assert line in said


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        pytest.param((), "usage: leyden COMMAND", id="nothing"),
        pytest.param(("fitt",), "'fitt' is not a command; there are: fit, validate", id="command"),
        pytest.param(("fit",), "required: fit.model", id="no-model"),
        pytest.param(("fit", "--model", "nowhere:Lit"), "there is no module nowhere$", id="module"),
        pytest.param(("fit", "--model", "lines"), "'lines' is not .* `package.module:Class`$", id="no-class"),
        pytest.param(("fit", "--model", "lines:Lot"), "lines has no 'Lot'; its classes are: Lit, Other", id="class"),
        pytest.param(("fit", "--model", "lines.Lot"), "model: lines.Lot: .*has no attribute 'Lot'", id="dotted"),
        pytest.param(("fit", "--model", "lines:Data"), "lines:Data is not a LightningModule", id="kind"),
        pytest.param(("fit", "--model", "lines:Lit", "--model.rate=x"), "rate='x' .* of type float", id="value"),
        pytest.param(("fit", "--model", "lines:Lit", "--model.x=1"), "lines.Lit: Option 'x' is not", id="argument"),
        pytest.param(("fit", "--model", "lines:Lit", "--data", "lines:Data"), "required: batch_size", id="missing"),
        pytest.param(
            ("fit", "--model", "lines:Lit", "--trainer.max_epochs", "many"),
            "trainer.max_epochs='many' is not allowed: it must be of type int or None$",
            id="trainer-type",
        ),
        pytest.param(
            ("fit", "--model", "lines:Lit", "--trainer.max_epochs=-3"),
            "max_epochs=-3 .* at least -1",
            id="trainer-range",
        ),
        pytest.param(
            ("fit", "--model", "lines:Lit", "--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monito=x"),
            "trainer.callbacks: leyden.callbacks.EarlyStopping: Option 'monito' is not accepted$",
            id="callback-argument",
        ),
        pytest.param(
            ("fit", "--model", "lines:Lit", "--trainer.callbacks=Early"),
            "trainer.callbacks: no class is named 'Early': give package.module.Class",
            id="callback",
        ),
        pytest.param(
            ("fit", "--model", "lines:Lit", "--trainer.callbacks=EarlyStopping", *EARLY),
            "mode='up' is not allowed: it must be one of 'min', 'max'$",
            id="callback-value",
        ),
        pytest.param(("fit", "--config", "none.yaml"), "File does not exist", id="no-config"),
        pytest.param(("fit", "--config", "lines.py"), "config", id="not-a-config"),
        pytest.param(("test", "--model", "lines:Lit", "--ckpt_path=x"), "there is no checkpoint at x", id="checkpoint"),
        pytest.param(("predict", "--model", "lines:Lit", "--output=x.csv"), "in .pt or .jsonl", id="output"),
        pytest.param(("inspect", "nothing"), "there is no checkpoint at nothing", id="inspect-nothing"),
        pytest.param(("inspect", "lines.py"), "lines.py is not a checkpoint", id="inspect-something-else"),
        pytest.param(("export", "lines.py", "--format=x"), "format='x' .* 'onnx'", id="export-format"),
    ],
)
def test_what_is_wrong_is_one_sentence(leyden: Leyden, arguments: tuple[str, ...], sentence: str) -> None:
    code, said = leyden(*arguments)
    assert code == 2
    last = said.strip().splitlines()[-1] if arguments else said
    assert re.search(sentence, last), said
    assert "Traceback" not in said


@pytest.fixture
def checkpoint(workspace: Path, leyden: Leyden) -> Path:
    """A directory of checkpoints, and ``one.ckpt`` with the same weights."""
    keeper = "--trainer.callbacks=leyden.callbacks.CheckpointDirectory"
    where = "--trainer.callbacks.directory=kept"
    code, said = leyden("fit", "--model", "lines:Lit", "--model.rate=0.25", keeper, where, *QUICK)
    assert code == 0, said
    return workspace / "kept"


def test_a_checkpoint_brings_its_modules_arguments_and_the_user_wins(leyden: Leyden, checkpoint: Path) -> None:
    code, said = leyden(
        *("fit", "--model", "lines:Lit", "--model.width=3", "--ckpt_path", str(checkpoint), *QUICK),
        "--trainer.max_epochs=2",
    )
    assert code == 0, said
    kept = yaml.safe_load(Path("lightning_logs/version_1/config.yaml").read_text())
    assert kept["model"]["init_args"] == {"rate": 0.25, "width": 3}


def test_inspect_tells_what_a_checkpoint_holds(leyden: Leyden, checkpoint: Path) -> None:
    code, said = leyden("inspect", str(checkpoint), "--json")
    assert code == 0, said
    found = json.loads(said)
    assert (found["step"], found["module"], found["parameters"], found["verified"]) == (2, "lines:Lit", 66, True)
    assert found["hyperparameters"]["rate"] == 0.25
    assert found["weights"]["layer.weight"] == {"shape": [2, 32], "dtype": "float32"}
    code, said = leyden("inspect", str(checkpoint))
    assert code == 0 and "layer.weight  2 x 32  float32" in said and "rate: 0.25" in said


def test_inspect_refuses_what_was_changed(leyden: Leyden, checkpoint: Path) -> None:
    weights = next(checkpoint.rglob("weights.pt"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, said = leyden("inspect", str(weights.parent))
    assert code == 2 and "weights.pt does not have the SHA-256 of its manifest" in said


def test_export_asks_the_checkpoints_own_module(leyden: Leyden, checkpoint: Path, workspace: Path) -> None:
    code, said = leyden("export", str(checkpoint), "--format", "exported,torchscript", "--output", "exports")
    assert code == 0, said
    assert said.splitlines()[-2:] == [f"exports/step-000000000002.{suffix}" for suffix in ("pt2", "torchscript")]
    weights = torch.load(next(checkpoint.rglob("weights.pt")), weights_only=True)
    inputs = torch.randn(3, 32)
    wanted = torch.nn.functional.linear(inputs, weights["layer.weight"], weights["layer.bias"])
    torch.testing.assert_close(torch.jit.load("exports/step-000000000002.torchscript")(inputs), wanted)
    torch.testing.assert_close(torch.export.load("exports/step-000000000002.pt2").module()(inputs), wanted)


def test_predictions_are_shown_or_kept(leyden: Leyden) -> None:
    command = ("predict", "--model", "lines:Lit", "--trainer.limit_predict_batches=3")
    code, said = leyden(*command)
    assert code == 0 and "3 batches of predictions, each float32 of shape [1, 2]" in said
    assert leyden(*command, "--output=p.pt")[0] == leyden(*command, "--output=p.jsonl")[0] == 0
    batches = torch.load("p.pt", weights_only=True)
    lines = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert torch.equal(torch.cat(batches), torch.tensor(lines))


def test_validate_and_test_print_their_metrics(leyden: Leyden, workspace: Path) -> None:
    (workspace / "measured.py").write_text(
        "from lines import Lit\n"
        "class Measured(Lit):\n"
        "    def validation_step(self, batch, batch_idx):\n        self.log('seen', 1.0)\n"
        "    test_step = validation_step\n"
    )
    for command in ("validate", "test"):
        code, said = leyden(command, "--model", "measured:Measured")
        assert code == 0 and "seen=1" in said


def test_what_a_constructor_raises_comes_out_as_it_is(leyden: Leyden, workspace: Path) -> None:
    (workspace / "failing.py").write_text(
        "from lines import Lit\nclass Failing(Lit):\n    def __init__(self): raise ValueError('no such data')\n"
    )
    with pytest.raises(ValueError, match=r"^no such data$"):
        leyden("fit", "--model", "failing:Failing")


def test_the_command_is_a_process_of_its_own(workspace: Path) -> None:
    """``--as-lightning``, the working directory on the path, and that only what is asked for is imported."""
    (workspace / "theirs.py").write_text(
        "import lightning.pytorch as pl\nfrom lightning.pytorch.demos.boring_classes import BoringModel\n"
        "class Lit(BoringModel): pass\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/trainer-image:{ROOT}/contract"}
    command = (sys.executable, "-P", "-m", "leyden", "fit", "--as-lightning", "--model", "theirs:Lit")
    ran = subprocess.run([*command, *QUICK], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    program = (
        "import sys, leyden, leyden.commands, leyden.callbacks; leyden.Trainer; print('jsonargparse' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_serve_becomes_the_server(leyden: Leyden, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: started.append(arguments))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert leyden("serve", "here", "--port", "1")[0] == 0
    assert started == [[sys.executable, "-m", "leyden_server", "here", "--port", "1"]]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, said = leyden("serve", "here")
    assert code == 2 and "the server is not installed: pip install 'leyden[server]'" in said


def test_the_guide_names_every_command() -> None:
    guide = (ROOT / "docs/cli.md").read_text()
    assert [name for name in COMMANDS if f"`leyden {name}" not in guide] == []
