"""Programs that import Lightning, run with Leyden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.compat.names import NOT_PROVIDED

ROOT = Path(__file__).parents[2]


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(script)
    return run_file(path, *arguments)


def run_file(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("trainer-image", "contract"))}
    command = (sys.executable, "-m", "leyden.compat", str(path), *arguments)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_all_names_are_leyden(tmp_path: Path) -> None:
    script = """
import sys
import lightning as L
import lightning.pytorch as pl
import pytorch_lightning
from lightning.pytorch.callbacks.early_stopping import EarlyStopping
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.loggers import CSVLogger
import leyden

assert L.Trainer is pl.Trainer is pytorch_lightning.Trainer is leyden.Trainer
assert pl.callbacks.EarlyStopping is EarlyStopping is leyden.callbacks.EarlyStopping
assert L.pytorch is pl and pl.__version__.startswith("2.")
assert rank_zero_only(lambda: 3)() == 3 and rank_zero_only.rank == 0
assert L.fabric.utilities.types._PATH is _PATH
model = BoringModel()
trainer = L.Trainer(max_epochs=1, limit_train_batches=3, limit_val_batches=1, logger=False, enable_progress_bar=False,
    enable_checkpointing=False)
trainer.fit(model)
print(trainer.global_step, sys.argv[1:])
"""
    ran = run(tmp_path, script, "--own", "argument")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "3 ['--own', 'argument']"


def test_what_libraries_look_up_before_they_train(tmp_path: Path) -> None:
    script = """
import warnings
import lightning.pytorch as pl
from lightning.fabric.accelerators import ACCELERATOR_REGISTRY
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, TQDMProgressBar
from lightning.pytorch.core.saving import _load_from_checkpoint
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from lightning_fabric.plugins.precision import Precision
from lightning_fabric.utilities.cloud_io import _load, get_filesystem

class XPU(Accelerator):
    pass

class Bar(TQDMProgressBar):
    def init_train_tqdm(self):
        return Tqdm(disable=True)

AcceleratorRegistry.register("xpu", XPU, description="somebody's")
StrategyRegistry.register("xpu_single", SingleDeviceStrategy)
assert AcceleratorRegistry.available_accelerators() == ["cpu", "cuda", "xpu"] and "ddp" in StrategyRegistry
assert ACCELERATOR_REGISTRY is AcceleratorRegistry
found = _AcceleratorConnector(accelerator="cpu", devices="auto")
assert (found._accelerator_flag, found._devices_flag) == ("cpu", 1)
assert _AcceleratorConnector(accelerator="cpu", devices=2)._devices_flag == 2
assert _AcceleratorConnector._choose_auto_accelerator() in AcceleratorRegistry
for accelerator in ("xpu", XPU()):
    try:
        pl.Trainer(accelerator=accelerator)
        raise SystemExit("taken")
    except pl.utilities.exceptions.MisconfigurationException as error:
        assert str(accelerator) in str(error) and "'cuda'" in str(error), error
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    pl.Trainer(fast_dev_run=1, logger=False, callbacks=[Bar()]).fit(pl.demos.boring_classes.BoringModel())
print([str(one.message) for one in said if "tqdm" in str(one.message)])
"""
    ran = run(tmp_path, script)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "['Bar.init_train_tqdm is not called: there is no tqdm behind the bar']"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from lightning import Fabric", "Leyden does not provide lightning.Fabric: docs/migrating.md"),
        ("from lightning.fabric import Fabric", "Leyden does not provide lightning.fabric.Fabric: docs/migrating.md"),
        ("import lightning.fabric.strategies", "Leyden does not provide lightning.fabric.strategies: docs"),
        ("import lightning_fabric.wrappers", "Leyden does not provide lightning_fabric.wrappers: docs/migrating.md"),
        ("from lightning.pytorch.callbacks import ModelPruning", "Leyden does not provide"),
        ("from lightning.pytorch.callbacks import Nonsense", "cannot import name 'Nonsense'"),
    ],
)
def test_what_is_not_there_says_so(tmp_path: Path, line: str, said: str) -> None:
    ran = run(tmp_path, line)
    assert ran.returncode == 1 and said in ran.stderr.splitlines()[-1]


def test_a_script_that_is_not_there() -> None:
    ran = run_file(Path("none.py"))
    assert ran.returncode == 1
    assert ran.stderr.strip() == (
        "none.py is not a file. "
        "Usage: python -m leyden.compat script.py [arguments], or python -m leyden.compat -m module [arguments]"
    )


@pytest.mark.parametrize("name", sorted(NOT_PROVIDED))
def test_the_guide_says_what_to_use_instead(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/migrating.md").read_text()
