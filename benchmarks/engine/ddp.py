"""A step of data-parallel training by two gloo processes, by hand, with Leyden and with Lightning.

All three in the same two processes and the same process group, interleaved. Ranks wait for each other, so the wall's
time counts; of each round the median step is taken, so that what disturbs single steps does not show.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from functools import partial
from types import ModuleType
from typing import Any

import torch
from report import Row, interleaved
from subjects import QUIET, Batches, packages, seeded
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

RANKS = 2


class Layers(nn.Sequential):
    """1.3 million parameters, and when each step began."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
        self.began: list[float] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.began.append(time.perf_counter())
        scores: Tensor = super().forward(batch)
        return scores

    def step_micros(self) -> float:
        """Microseconds of the median step."""
        return statistics.median(later - one for one, later in zip(self.began, self.began[1:], strict=False)) * 1e6


def by_hand(batches: Batches) -> float:
    layers = Layers()
    model = DistributedDataParallel(layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for batch in batches:
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layers.step_micros()


def by_package(package: ModuleType, batches: Batches) -> float:
    class Wide(package.LightningModule):  # type: ignore[name-defined,misc]  # the base is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.layers = Layers()

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss: Tensor = self.layers(batch).square().mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    module: Any = Wide()
    package.Trainer(**QUIET, accelerator="cpu", max_epochs=1, strategy="ddp", devices=RANKS).fit(module, batches)
    micros: float = module.layers.step_micros()
    return micros


def rank(steps: int, rounds: int) -> None:
    """What each of the processes does; rank 0 prints the figures of all rounds."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    batches = Batches(steps, shape=(32, 256))
    runs = {"raw": partial(seeded, partial(by_hand, batches))}
    for name, package in packages().items():
        runs[name] = partial(seeded, partial(by_package, package, batches))
    micros = interleaved(runs, rounds)
    if torch.distributed.get_rank() == 0:
        print(json.dumps(micros))


def data_parallel(steps: int, rounds: int) -> list[Row]:
    """The rows."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    common = {"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS), "GROUP_RANK": "0", "MASTER_PORT": port}
    launched = {**os.environ, **common, "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "benchmark"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(steps), str(rounds)],
            env={**launched, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(RANKS)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"ranks ended with {[process.returncode for process in processes]}")
    micros = json.loads(outputs[0].splitlines()[-1])
    raw = micros["raw"]
    ratios = {
        name: [one / other for one, other in zip(taken, raw, strict=True)]
        for name, taken in micros.items()
        if name != "raw"
    }
    return [
        Row(f"a DDP step, {RANKS} gloo processes, wall time", micros, "us", digits=0),
        Row("as a multiple of raw", ratios, "", 1.02, digits=3),
    ]


if __name__ == "__main__":
    rank(*map(int, sys.argv[1:]))
