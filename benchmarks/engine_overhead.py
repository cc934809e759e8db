"""What the engine costs beyond a raw torch loop: microseconds a step and a `log` call, and import time.

Linear(32, 2), batch 1, one thread; runs are interleaved, the median and the spread of all rounds are printed. Processor
time is taken, so that a busy machine distorts it less. Lightning 2.6.6 is measured beside it.

    python benchmarks/engine_overhead.py [--steps 2000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "trainer-image", "cluster")]

import torch  # noqa: E402  # after the path is set, as leyden needs it
from torch import nn  # noqa: E402

from leyden_images.environment import peers  # noqa: E402  # after the path is set

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 1,
    "accelerator": "cpu",
}


class Batches:
    """A loader that costs nothing."""

    def __init__(self, count: int):
        self.batches = [torch.randn(1, 32) for _ in range(count)]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def raw(batches: Batches) -> float:
    """Seconds of the loop by hand."""
    torch.manual_seed(0)
    model = nn.Linear(32, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    begin = time.process_time()
    for batch in batches:
        loss = model(batch).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - begin


def framework(package: Any, logs: int) -> Callable[[Batches], float]:
    """The same under a Trainer; the time is that of the epoch."""

    class Module(package.LightningModule):  # type: ignore[misc]  # the base is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 2)
            self.seconds = 0.0

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss = self.layer(batch).sum()
            for index in range(logs):
                self.log(f"value_{index}", loss)
            return loss

        def on_train_epoch_start(self) -> None:
            self.begin = time.process_time()

        def on_train_epoch_end(self) -> None:
            self.seconds = time.process_time() - self.begin

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    def run(batches: Batches) -> float:
        torch.manual_seed(0)
        module = Module()
        package.Trainer(**QUIET).fit(module, batches)
        return module.seconds

    return run


def import_seconds(package: str) -> float:
    """Seconds that importing a package takes on top of torch, in a fresh process."""
    timed = f"t = time.process_time(); import {package}; {package}.Trainer; print(time.process_time() - t)"
    code = f"import torch, time; {timed}"
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    batches = Batches(options.steps)
    sys.path.append(str(peers(print)))
    import lightning

    import leyden

    runs: dict[str, Callable[[Batches], float]] = {
        "raw": raw,
        "leyden": framework(leyden, 0),
        "leyden, 10 logs": framework(leyden, 10),
        "lightning": framework(lightning, 0),
        "lightning, 10 logs": framework(lightning, 10),
    }
    packages = ["leyden", "lightning"]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds + 1):
        for name, run in runs.items():
            seconds[name].append(run(batches))
    micro = {name: [1e6 * value / options.steps for value in taken[1:]] for name, taken in seconds.items()}
    base = statistics.median(micro["raw"])
    for name, taken in micro.items():
        quarters = statistics.quantiles(taken, n=4)
        line = f"{name:20} {statistics.median(taken):8.1f} us/step  (quartiles {quarters[0]:.1f} to {quarters[2]:.1f})"
        print(line if name == "raw" else f"{line}  {statistics.median(taken) - base:+.1f} over raw")
    for package in packages:
        more = statistics.median(micro[f"{package}, 10 logs"]) - statistics.median(micro[package])
        print(f"{package:20} {more / 10:8.1f} us/log")
    for package in packages:
        taken = [import_seconds(package) for _ in range(5)]
        print(f"{package:20} {1e3 * statistics.median(taken):8.1f} ms import above torch")


if __name__ == "__main__":
    main()
