"""How long training stands still when a worker is lost: real coordinator, agents and gloo ranks on this machine.

Three agents train; rank 0's pod is killed and, as the operator would, the coordinator is told. Measured is the time
from the kill to the first step of the survivors, and from a rank's own death to the first step of all in a new round.

    python benchmarks/recovery_local.py [--times N]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "contract")]

from engine.agent.harness import Run  # noqa: E402  # the path is set first


def first_step(run: Run, world: int, after: int) -> float:
    """Time of the first step of ``world`` ranks in a round after ``after``."""
    found = run.trains(world, after=after, seconds=60)
    return next(at for at, number, *_ in run.steps() if number == found)


def measure(directory: Path) -> tuple[float, float]:
    """Seconds from a rank's death, and from a pod's death, to training again."""
    with Run(directory, budget=1) as run:
        run.tell("a b c")
        for index, name in enumerate("abc"):
            run.start(name, index)
        first = run.trains(3, seconds=120)
        at = time.time()
        run.kill_rank("a")
        process = first_step(run, 3, first) - at
        second = run.trains(3, after=first)
        at = time.time()
        run.kill("a")
        run.tell("b c", lost={"a": "Preemption"})
        return process, first_step(run, 2, second) - at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as directory:
            found.append(measure(Path(directory)))
    for what, values in zip(("rank killed", "pod of rank 0 killed"), zip(*found, strict=True), strict=True):
        spread = f"{min(values):.2f} to {max(values):.2f} s in {times} runs"
        print(f"{what}: training again after {statistics.median(values):.2f} s ({spread})")


if __name__ == "__main__":
    main()
