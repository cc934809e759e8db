"""The agent as a launcher on one machine, and that a script sees what torchrun would show it."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.agent.harness import ROOT

LOOKS_AROUND = """
import atexit, multiprocessing, os, sys
import sibling

def double(x):
    return 2 * x

def main():
    assert sys.argv[1:] == ["--lr", "0.1"], sys.argv
    assert sys.modules["__main__"].__file__ == __file__ == sys.argv[0]
    import torch.distributed as dist
    from torch.utils.data import DataLoader
    assert dist.is_torchelastic_launched()
    dist.init_process_group("gloo")
    assert dist.get_world_size() == int(os.environ["LOCAL_WORLD_SIZE"]) == 2
    assert [int(b.sum()) for b in DataLoader(range(4), batch_size=2, num_workers=1)] == [1, 5]
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(double, [1, 2]) == [2, 4], method
    atexit.register(lambda: print("said at exit"))
    print("hello from", dist.get_rank(), sibling.NAME)
    dist.destroy_process_group()

if __name__ == "__main__":
    main()
"""


def launch(directory: Path, source: str, *args: str, lightning: str = "installed") -> subprocess.CompletedProcess[str]:
    options = ["--standalone", "--nproc", "2", *(["--as-lightning"] if lightning == "leyden" else [])]
    script = directory / "script.py"
    script.write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "leyden.agent", *options, str(script), *args],
        env={"PYTHONPATH": f"{ROOT}/contract:{ROOT}/trainer-image", "PATH": "/usr/bin:/bin", "TMPDIR": str(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_script_runs_as_under_torchrun(tmp_path: Path) -> None:
    (tmp_path / "sibling.py").write_text("NAME = 'a sibling'")
    done = launch(tmp_path, LOOKS_AROUND, "--lr", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in (0, 1):
        assert f"[rank {rank}] hello from {rank} a sibling\n" in done.stdout
        assert f"[rank {rank}] said at exit\n" in done.stdout


@pytest.mark.parametrize(
    "source, code, said",
    [
        pytest.param(
            "import os; 1 / int(os.environ['LOCAL_RANK'])", 1, "rank 0 failed: ZeroDivisionError", id="raises"
        ),
        pytest.param("import sys; sys.exit(9)", 9, "ExitCode: exit code 9", id="exits"),
        pytest.param("import os; os.kill(os.getpid(), 11)", 1, "Killed: killed by SIGSEGV", id="is-killed"),
    ],
)
def test_a_failure_is_named_and_ends_all(tmp_path: Path, source: str, code: int, said: str) -> None:
    done = launch(tmp_path, source)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


LEAVES_A_CALL_UNANSWERED = """
import time
from datetime import timedelta
import torch
import torch.distributed as dist
from leyden.strategies import groups

groups.join("gloo", timedelta(minutes=30), None, 2)
if dist.get_rank() == 0:
    pending = dist.all_reduce(torch.ones(1), group=groups.control(), async_op=True)
    raise ValueError("a bad batch")
time.sleep(600)  # gives no answer until it is ended
"""


def test_a_rank_that_failed_waits_for_no_answer(tmp_path: Path) -> None:
    done = launch(tmp_path, LEAVES_A_CALL_UNANSWERED)  # within its limit of two minutes, not after the group's
    assert (done.returncode, "ValueError: a bad batch" in done.stdout) == (1, True), done.stdout + done.stderr


IMPORTS_LIGHTNING = """
import lightning.pytorch as pl
from lightning.pytorch.demos.boring_classes import BoringModel

if __name__ == "__main__":
    quiet = dict(logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False)
    trainer = pl.Trainer(max_epochs=1, limit_train_batches=4, limit_val_batches=1, accelerator="cpu", **quiet)
    trainer.fit(BoringModel())
    print(trainer.global_step, "steps on", trainer.world_size, "ranks with", type(trainer).__module__)
"""


def test_a_script_that_imports_lightning_trains_with_leyden(tmp_path: Path) -> None:
    done = launch(tmp_path, IMPORTS_LIGHTNING, lightning="leyden")
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in (0, 1):
        assert f"[rank {rank}] 4 steps on 2 ranks with leyden.trainer\n" in done.stdout
    done = launch(tmp_path, IMPORTS_LIGHTNING)
    assert done.returncode == 78 and "ModuleNotFound: lightning" in done.stdout
