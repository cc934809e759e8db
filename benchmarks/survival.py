"""Kills training processes and counts how often the resumed run ends bit-equal to one that was left alone.

Each round forks a process from this one, which has imported torch. So many rounds end it by SIGKILL at a
random moment, and as many by SIGTERM, after which it must say 75 and have committed a checkpoint. A second process
resumes. Weights, in bytes, are compared.

    python benchmarks/survival.py [--times 50]
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "trainer-image", "tests")]

import torch  # noqa: E402  # after the path is set, as leyden needs it

from engine import jobs  # noqa: E402  # after the path is set
from leyden.checkpoint import store  # noqa: E402  # after the path is set
from leyden_contract import exit_codes  # noqa: E402  # after the path is set

EPOCHS = 8
COUNT = 200
"""Samples: enough for a run to last a good part of a second."""


def start(directory: Path) -> int:
    """A process that trains to the end and leaves its weights beside the checkpoints. Its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stdout = io.StringIO()
        torch.set_num_threads(1)
        found = jobs.train(str(directory / "steps"), epochs=EPOCHS, count=COUNT, steps=7)
        torch.save(found["weights"], directory / "weights")
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """How a process ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def survives(number: int, whole: bytes, seconds: float, kind: signal.Signals) -> str:
    """One round. Empty where all is well, else what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        child = start(directory)
        time.sleep(random.Random(number).uniform(0.1, 0.95) * seconds)  # the moment is what is tried
        os.kill(child, kind)
        code = finish(child)
        if code == 0:
            return "" if (directory / "weights").read_bytes() == whole else "it finished, with other weights"
        wanted = exit_codes.STOPPED if kind is signal.SIGTERM else -signal.SIGKILL
        if code not in (wanted, -kind):
            return f"it ended with {code}"
        kept = store.choose(directory / "steps")
        if code == exit_codes.STOPPED and kept.stored is None:
            return "it stopped without a checkpoint"
        if kept.skipped:
            return f"a checkpoint is damaged: {kept.skipped}"
        if (again := finish(start(directory))) != 0:
            return f"the resumed run ended with {again}"
        return "" if (directory / "weights").read_bytes() == whole else "other weights"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        if finish(start(Path(name))) != 0:
            return 1
        seconds = time.monotonic() - began
        whole = (Path(name) / "weights").read_bytes()
    failed = 0
    for kind in (signal.SIGKILL, signal.SIGTERM):
        problems = [survives(number, whole, seconds, kind) for number in range(times)]
        wrong = [problem for problem in problems if problem]
        print(f"{kind.name}: {times - len(wrong)} of {times} ended bit-equal", *wrong[:5], sep="\n  ", flush=True)
        failed += len(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
