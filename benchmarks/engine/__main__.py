"""What the engine costs beside a loop by hand and Lightning 2.6.6: one run, interleaved, one thread.

    python benchmarks/engine [--rounds 7] [--steps 2000] [--only TABLE ...] [--quick]

Medians of all rounds, with their quartiles. "Above raw" is measured round by round. Processor time where nothing waits
for another process, so that a busy machine distorts it less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import loops
import size
import torch
from ddp import data_parallel
from language import tokens
from processes import in_processes
from report import Row, print_table
from subjects import ROOT, packages


def main() -> None:
    cuda = torch.cuda.is_available()
    tables = ("steps", "fit", "epochs", "ends", "processes", "ddp", "text", "size", *(("cuda",) if cuda else ()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2000, help="steps of a round")
    parser.add_argument("--only", nargs="+", choices=tables, default=tables)
    parser.add_argument("--quick", action="store_true", help="3 rounds of few steps: whether it runs, not how fast")
    parser.add_argument("--compile", action="store_true", help="compile the language model on a CPU too")
    options = parser.parse_args()
    rounds, steps = (3, 200) if options.quick else (options.rounds, options.steps)
    torch.set_num_threads(1)
    both = packages()
    measures: dict[str, Callable[[], list[Row]]] = {
        "steps": lambda: loops.steps(both, steps, rounds),
        "fit": lambda: [loops.empty_fit(both, rounds * 3)],
        "epochs": lambda: loops.recurrent_epochs(both, rounds),
        "ends": lambda: loops.epoch_ends(both, rounds),
        "processes": lambda: in_processes(3),
        "ddp": lambda: data_parallel(steps // 20, rounds),
        "text": lambda: tokens(both["leyden"], steps // 20, rounds, cuda or options.compile),
        "cuda": lambda: loops.steps(both, steps, rounds, "cuda"),
        "size": lambda: size.rows(ROOT / "trainer-image" / "leyden", Path(str(both["lightning"].__path__[0]))),
    }
    rows = []
    for name in (name for name in tables if name in options.only):
        began = time.monotonic()
        rows += measures[name]()
        print(f"{time.monotonic() - began:6.1f} s  {name}", file=sys.stderr, flush=True)
    print_table(f"The engine, torch {torch.__version__}, {rounds} rounds", rows)


if __name__ == "__main__":
    main()
