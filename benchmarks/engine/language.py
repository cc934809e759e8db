"""Tokens a second of ``examples/textlm`` against the same module in a loop by hand, both compiled where asked; on a GPU
its memory too.

On a CPU this is a check that the benchmark runs, with small sizes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from report import Row, Spent, Watch, interleaved
from subjects import finished, seeded, trained
from textlm import BYTES, LitTextLM

SIZES = {
    "cuda": {"length": 512, "width": 512, "layers": 8, "heads": 8},
    "cpu": {"length": 32, "width": 32, "layers": 2, "heads": 2},
}
BATCH = {"cuda": 64, "cpu": 4}
WARM_UP = 3
"""Steps ahead of the measured ones, of which the first compiles."""


class TimedTextLM(LitTextLM):
    """The example, and the time of its steps after the first few."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            finished(Watch())
            self.watch = Watch()

    def on_train_end(self) -> None:
        self.spent = finished(self.watch)


def tokens(leyden: ModuleType, steps: int, rounds: int, compiled: bool) -> list[Row]:
    """Thousands of tokens a second with bf16-mixed precision, and the most memory that tensors took on a GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes, batch = SIZES[device], BATCH[device]
    batches = [torch.randint(BYTES, (batch, sizes["length"] + 1), device=device) for _ in range(WARM_UP + steps)]

    def new() -> TimedTextLM:
        model: TimedTextLM = seeded(lambda: TimedTextLM(**sizes))
        if compiled:
            model.compile()
        return model

    peaks: dict[str, list[float]] = {"raw": [], "leyden": []}

    def noting(name: str, run: Callable[[], Spent]) -> Spent:
        if device == "cpu":
            return run()
        gc.collect()  # of the run before
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        spent = run()
        peaks[name].append((torch.cuda.max_memory_allocated() - before) / 1e6)
        return spent

    def by_hand() -> Spent:
        model = new().to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=model.lr)
        for index, one in enumerate(batches):
            if index == WARM_UP:
                finished(Watch())
                watch = Watch()
            with torch.autocast(device, torch.bfloat16):
                loss = model._loss(one)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return finished(watch)

    def by_leyden() -> Spent:
        return trained(leyden, new(), batches, accelerator="auto", precision="bf16-mixed")

    runs = {"raw": partial(noting, "raw", by_hand), "leyden": partial(noting, "leyden", by_leyden)}
    spent = interleaved(runs, rounds)
    count = steps * batch * sizes["length"] / 1e3
    figures = {name: [count / one.wall for one in taken] for name, taken in spent.items()}
    what = f"textlm on {device}, bf16, {'compiled' if compiled else 'not compiled'}"
    memory = [Row("its memory on the GPU at most", peaks, "MB")] if device == "cuda" else []
    return [Row(what, figures, "k tokens/s"), *memory]
