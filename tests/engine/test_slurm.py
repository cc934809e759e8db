"""SLURM's warning that a job's time is nearly up: a checkpoint, the queue, and on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden as L
from engine.programs import ON_CPU, SAVING, Regression, loader, same, weights
from leyden import environments
from leyden.callbacks import CheckpointDirectory, OnExceptionCheckpoint
from leyden.checkpoint import store
from leyden.errors import MisconfigurationError
from leyden.plugins import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from leyden.strategies.ddp import DDPStrategy
from leyden_contract import exit_codes

ROOT = Path(__file__).parents[2]
SECONDS = 120.0

TASK = {
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "77",
    "SLURM_ARRAY_JOB_ID": "70",
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}

SCONTROL = """#!/bin/sh
echo "$@" >> "{log}"
exit {code}
"""


def scontrol(folder: Path, code: int = 0) -> Path:
    """A stand-in for SLURM's program: the file it writes its arguments to. No SLURM comes in a Debian package alone."""
    log, program = folder / "scontrol.log", folder / "bin" / "scontrol"
    program.parent.mkdir(exist_ok=True)
    program.write_text(SCONTROL.format(log=log, code=code))
    program.chmod(0o755)
    return log


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM job of one task: the file that tells of ``scontrol``."""
    for name in (*environments.LAUNCHER_VARIABLES, "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # so that what the Trainer sets goes with the test
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return scontrol(tmp_path)


class Warned(L.Callback):
    """SLURM's signal in the midst of a step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGUSR1) -> None:
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(max_epochs=3, callbacks=list(callbacks), default_root_dir=folder, **{**ON_CPU, **options})


def test_a_warned_job_is_queued_again_and_goes_on_to_the_same_weights(tmp_path: Path, task: Path) -> None:
    whole, cut, rest = (Regression() for _ in range(3))
    for module in (cut, rest):
        module.load_state_dict(whole.state_dict())
    torch.manual_seed(1)
    trainer(tmp_path / "whole").fit(whole, loader())
    torch.manual_seed(1)
    with pytest.raises(SystemExit) as stopped:
        trainer(tmp_path, Warned(7)).fit(cut, loader())
    assert stopped.value.code == exit_codes.STOPPED
    assert task.read_text() == "requeue 70_7\n"
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["hpc_ckpt_1.ckpt"]
    goes_on = trainer(tmp_path)
    goes_on.fit(rest, loader())
    assert goes_on.ckpt_path == str(tmp_path / "hpc_ckpt_1.ckpt")
    assert len(rest.seen) == 7, "eight of fifteen steps were done"
    assert same(weights(rest), weights(whole))


def test_where_slurm_refuses_training_goes_on(tmp_path: Path, task: Path) -> None:
    scontrol(tmp_path, code=1)
    runs = trainer(tmp_path, Warned(2), Warned(9))
    with pytest.warns(UserWarning, match="not put into SLURM's queue again: scontrol requeue 70_7: exit code 1"):
        runs.fit(Regression(), loader())
    assert runs.global_step == 15
    assert sorted(file.name for file in tmp_path.glob("*.ckpt")) == ["hpc_ckpt_1.ckpt", "hpc_ckpt_2.ckpt"]
    again = trainer(tmp_path)
    again.fit(Regression(), loader(), ckpt_path="hpc")
    assert str(again.ckpt_path).endswith("hpc_ckpt_2.ckpt")


def test_a_checkpoint_directory_needs_no_other_file(tmp_path: Path, task: Path) -> None:
    with pytest.raises(SystemExit):
        trainer(tmp_path, CheckpointDirectory(tmp_path / "steps"), Warned(7), **SAVING).fit(Regression(), loader())
    assert task.read_text() == "requeue 70_7\n" and not list(tmp_path.glob("*.ckpt"))
    assert store.complete(tmp_path / "steps")[0].step == 8


def test_a_sigterm_ends_the_job_for_good(tmp_path: Path, task: Path) -> None:
    with pytest.raises(SystemExit):
        trainer(tmp_path, Warned(2, signal.SIGTERM)).fit(Regression(), loader())
    assert not task.exists() and not list(tmp_path.glob("*.ckpt"))


def test_the_signal_is_the_users_choice_and_a_handler_of_the_programs_stays(tmp_path: Path, task: Path) -> None:
    came: list[int] = []
    plugin = SLURMEnvironment(requeue_signal=signal.SIGHUP)
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    try:
        trainer(tmp_path, Warned(2)).fit(Regression(), loader())
        assert came == [signal.SIGUSR1] and not task.exists()
        with pytest.raises(SystemExit):
            trainer(tmp_path, Warned(2, signal.SIGHUP), plugins=plugin).fit(Regression(), loader())
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        assert task.read_text() == "requeue 70_7\n"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_without_requeueing_the_signal_does_what_it_did(tmp_path: Path, task: Path) -> None:
    seen: list[Any] = []
    look = L.callbacks.LambdaCallback(on_train_start=lambda *_: seen.append(signal.getsignal(signal.SIGUSR1)))
    trainer(tmp_path, look, plugins=SLURMEnvironment(auto_requeue=False)).fit(Regression(), loader())
    assert seen == [signal.SIG_DFL]


def test_an_exceptions_file_is_older_than_slurms(tmp_path: Path, task: Path) -> None:
    saver = OnExceptionCheckpoint(tmp_path)
    with pytest.raises(SystemExit):
        trainer(tmp_path, saver, Warned(2), **SAVING).fit(Regression(), loader())
    goes_on = trainer(tmp_path, saver, **SAVING)
    goes_on.fit(Regression(), loader())
    assert str(goes_on.ckpt_path).endswith("hpc_ckpt_1.ckpt")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationError, match=r"ckpt_path='hpc' .* no hpc_ckpt_\*\.ckpt in"):
        trainer(tmp_path).fit(Regression(), loader(), ckpt_path="hpc")


def test_launchers_as_plugins(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    by_itself = L.Trainer(devices=2, plugins=LightningEnvironment(), **ON_CPU)
    assert isinstance(by_itself.strategy, DDPStrategy) and by_itself.strategy.siblings is not None
    assert by_itself.world_size == 2
    assert L.Trainer(devices=4, plugins=SLURMEnvironment(), **ON_CPU).world_size == 4
    with pytest.raises(MisconfigurationError, match="devices=3 does not fit: this node runs 4"):
        L.Trainer(devices=3, plugins=[SLURMEnvironment()], **ON_CPU)
    for name in environments.LAUNCHER_VARIABLES:
        monkeypatch.delenv(name)
    with pytest.raises(MisconfigurationError, match="torchrun did not start this process: RANK, LOCAL_RANK"):
        L.Trainer(plugins=TorchElasticEnvironment(), **ON_CPU)
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(MisconfigurationError, match="srun did not start this process: SLURM_PROCID is not set"):
        L.Trainer(plugins=SLURMEnvironment(), **ON_CPU)


SCRIPT = """
import sys
from pathlib import Path
import torch
import leyden as L
from engine.programs import ON_CPU, Regression, loader, weights
from engine.test_slurm import Warned

L.seed_everything(3)
rank = int(sys.argv[1])
callbacks = [Warned(7)] if sys.argv[2] == "warned" and rank == 1 else []
folder, module = Path(sys.argv[3]), Regression()
L.Trainer(max_epochs=10, callbacks=callbacks, devices=2, default_root_dir=folder, **ON_CPU).fit(module, loader(40))
torch.save(weights(module), folder / f"weights-{rank}.pt")
"""


def run_tasks(folder: Path, job: Path, how: str) -> list[int]:
    """Exit codes of two tasks of a job, each started as ``srun`` does."""
    folder.mkdir(exist_ok=True)
    port = str(15000 + os.getpid() % 10000)
    shared = {**os.environ, **TASK, "SLURM_NTASKS": "2", "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    shared["PATH"] = f"{job / 'bin'}{os.pathsep}{shared['PATH']}"
    shared["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("trainer-image", "contract", "tests"))
    command = [sys.executable, "-c", SCRIPT]
    tasks = [
        subprocess.Popen(
            [*command, str(rank), how, str(folder)],
            env={**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(2)
    ]
    return [started.wait(SECONDS) for started in tasks]


@pytest.mark.slow
def test_a_warning_to_one_task_of_two_stops_both(tmp_path: Path) -> None:
    log = scontrol(tmp_path)
    assert run_tasks(tmp_path / "whole", tmp_path, "") == [0, 0]
    assert run_tasks(tmp_path / "cut", tmp_path, "warned") == [exit_codes.STOPPED] * 2
    assert log.read_text() == "requeue 70_7\n", "once, by the first rank"
    assert run_tasks(tmp_path / "cut", tmp_path, "") == [0, 0]
    assert same(torch.load(tmp_path / "cut" / "weights-1.pt"), torch.load(tmp_path / "whole" / "weights-0.pt"))
