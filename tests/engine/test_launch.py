"""A script with ``Trainer(devices=2)`` starts its second process by itself, and both end together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.programs import wait_until
from leyden.checkpoint import store
from leyden_contract import exit_codes

ROOT = Path(__file__).parents[2]
SECONDS = 60.0

SCRIPT = """
import atexit
import os
import sys
import time
from pathlib import Path
import leyden as L
from engine.programs import QUIET, Regression, loader, weights

class Module(Regression):
    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            act(sys.argv[1], self.global_rank)
        return super().training_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        self.log("mean", batch[2].double().mean())

def say(text):
    os.write(1, f"{text}\\n".encode())  # in one piece, for both processes write to the same pipe

def say_threads():
    names = {(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()}
    say(f"gloo's threads at the end: {sorted(name for name in names if 'gloo' in name)}")

def act(what, rank):
    if what == "stuck" and rank == 1:
        raise ValueError("rank 1 has a problem")
    if what in ("stuck", "wait"):
        say(f"at work: {os.getpid()}")
        time.sleep(600)

atexit.register(say_threads)  # first, so that it is called last
trainer = L.Trainer(max_epochs=2, devices=2, **QUIET)
module = Module()
trainer.fit(module, loader(16, 2))
tested = trainer.test(module, loader(7, 2, shuffle=False), verbose=False)
total = float(sum(value.sum() for value in weights(module).values()))
say(f"rank {trainer.global_rank} of {trainer.world_size} {total} {tested}")
alone = L.Trainer(devices=1, **QUIET)
say(f"alone {alone.world_size} {alone.test(module, loader(7, 2, shuffle=False), verbose=False)}")
"""


ENDLESS = """
import os
import leyden as L
from engine.programs import SAVING, Regression, loader
from leyden.callbacks import CheckpointDirectory

class Module(Regression):
    def on_train_start(self):
        os.write(1, f"at work: {self.global_rank} {os.getpid()}\\n".encode())

keeper = CheckpointDirectory("checkpoints", every_n_epochs=10**6)
L.Trainer(max_epochs=10**6, devices=2, callbacks=[keeper], **SAVING).fit(Module(), loader(16, 2))
"""


def start(folder: Path, *arguments: str, what: str = "train", script: str = SCRIPT) -> subprocess.Popen[str]:
    (folder / "package").mkdir()
    (folder / "package/program.py").write_text(script)
    paths = [*(str(ROOT / part) for part in ("trainer-image", "contract", "tests")), str(folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        (sys.executable, *arguments, what),
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """What the process and its children said, once all of them are gone."""
    try:
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it is as it should be: nobody is left
            os.killpg(process.pid, signal.SIGKILL)
    return said


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "command",
    [pytest.param(("package/program.py",), id="script"), pytest.param(("-m", "package.program"), id="module")],
)
def test_two_processes_train_and_test_as_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    process = start(tmp_path, *command)
    said = end(process)
    assert process.returncode == 0, said
    ranks = sorted(line.split(maxsplit=2) for line in said.splitlines() if line.startswith("rank"))
    assert [rank[1] for rank in ranks] == ["0", "1"], said
    # Without a seed each began with other weights: rank 0's are everybody's.
    assert ranks[0][2] == ranks[1][2] and "of 2" in ranks[0][2] and "[{'mean': 3.0}]" in ranks[0][2]
    assert said.count("alone 1 [{'mean': 3.0}]") == 2, said
    # One of them that lets go of a tensor while the interpreter ends would abort the process.
    assert said.count("gloo's threads at the end: []") == 2, said


def test_a_rank_that_fails_ends_one_that_waits(tmp_path: Path) -> None:
    process = start(tmp_path, "package/program.py", what="stuck")
    said = end(process)
    assert process.returncode == 1, said
    assert "ValueError: rank 1 has a problem" in said
    assert said.splitlines()[-1] == "rank 1 failed first, with exit code 1: its error is above"


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, id="killed"), pytest.param(signal.SIGINT, id="ctrl-c")]
)
def test_no_rank_outlives_the_first(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "package/program.py", what="wait")
    assert process.stdout is not None
    pids: list[int] = []
    while len(pids) < 2 and (line := process.stdout.readline()):
        pids += [int(line.split()[-1])] if line.startswith("at work") else []
    assert process.pid in pids and len(pids) == 2, pids
    process.send_signal(number)
    said = end(process)
    assert process.returncode != 0
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), f"{pids} live on: {said}")


@pytest.mark.parametrize("rank", [pytest.param(0, id="the-first"), pytest.param(1, id="another")])
def test_a_sigterm_to_any_rank_ends_all_with_a_checkpoint(tmp_path: Path, rank: int) -> None:
    process = start(tmp_path, "package/program.py", script=ENDLESS)
    assert process.stdout is not None
    pids: dict[int, int] = {}
    while len(pids) < 2 and (line := process.stdout.readline()):
        if line.startswith("at work"):
            number, pid = map(int, line.split()[-2:])
            pids[number] = pid
    assert set(pids) == {0, 1}, pids
    os.kill(pids[rank], signal.SIGTERM)
    said = end(process)
    assert process.returncode == exit_codes.STOPPED, said
    assert not Path(f"/proc/{pids[1]}/cmdline").exists(), said
    stopped = re.search(r"stopped on request at step (\d+), checkpoint committed", said)
    assert stopped is not None and store.choose(tmp_path / "checkpoints", int(stopped[1])).stored is not None, said
