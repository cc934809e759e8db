"""What the loops cost in one process: steps, ``log`` calls, epochs, validation, the bar, and a ``fit`` of nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from report import Row, Spent, Watch, interleaved, over
from subjects import (
    QUIET,
    Batches,
    line,
    line_by_hand,
    recurrent,
    recurrent_by_hand,
    seeded,
    sequences,
    silenced,
    trained,
)

LOG_CALLS = (1, 5, 20)
Key = tuple[str, Any]
"""A subject, and what of it is varied."""


def steps(packages: dict[str, ModuleType], count: int, rounds: int, device: str = "cpu") -> list[Row]:
    """Microseconds of a step and of a ``log`` call; on a GPU with bf16-mixed precision."""
    batches = {logs: Batches(count if logs < 5 else count // 8, device) for logs in (0, *LOG_CALLS)}
    place = {"accelerator": "gpu", "devices": 1, "precision": "bf16-mixed"} if device == "cuda" else {}

    def run(package: ModuleType, logs: int) -> Spent:
        return trained(package, seeded(partial(line, package, logs)), batches[logs], **place)

    runs: dict[Key, Callable[[], Spent]] = {("raw", 0): partial(line_by_hand, batches[0])}
    for name, package in packages.items():
        runs |= {(name, logs): partial(run, package, logs) for logs in batches}
    spent = interleaved(runs, rounds)

    def micros(clock: str) -> dict[Key, list[float]]:
        scale = {key: 1e6 / len(batches[key[1]]) for key in spent}
        return {key: [getattr(one, clock) * scale[key] for one in taken] for key, taken in spent.items()}

    where = ", bf16-mixed on CUDA" if device == "cuda" else ""
    rows = []
    for clock, target in (("processor", 25), ("wall", None)):
        micro = micros(clock)
        above = {name: over(micro[name, 0], micro["raw", 0], 1) for name in packages}
        rows.append(Row(f"a step above raw, {clock} time{where}", {"raw": micro["raw", 0], **above}, "us", target))
    micro = micros("processor")
    for logs in LOG_CALLS:
        figures = {name: over(micro[name, logs], micro[name, 0], 1 / logs) for name in packages}
        rows.append(Row(f"a `log` call, {logs} in a step{where}", figures, "us", 10))
    return rows


def empty_fit(packages: dict[str, ModuleType], rounds: int) -> Row:
    """Milliseconds of a ``fit`` without a batch."""
    batches = Batches(1)

    def run(package: ModuleType) -> Spent:
        module = line(package)
        trainer = package.Trainer(**QUIET, accelerator="cpu", max_epochs=1, limit_train_batches=0)
        watch = Watch()
        trainer.fit(module, batches)
        return watch.read()

    spent = interleaved({name: partial(run, package) for name, package in packages.items()}, rounds)
    figures = {name: [one.wall * 1e3 for one in taken] for name, taken in spent.items()}
    return Row("an empty `fit()`, wall", figures, "ms", 5, digits=2)


def recurrent_epochs(packages: dict[str, ModuleType], rounds: int, epochs: int = 4) -> list[Row]:
    """Milliseconds of an epoch of the recurrent network, without and with a bar, and whether the losses are equal."""
    losses: dict[str, list[Any]] = {}

    def by_hand() -> Spent:
        spent, losses["raw"] = seeded(lambda: recurrent_by_hand(sequences(), epochs, None))
        return spent

    def run(name: str, bar: bool) -> Spent:
        package = packages[name]
        module = seeded(partial(recurrent, package))
        with silenced():
            spent = trained(package, module, sequences(), max_epochs=epochs, enable_progress_bar=bar)
        losses[name] = module.losses
        return spent

    runs = {("raw", False): by_hand} | {
        (name, bar): partial(run, name, bar) for name in packages for bar in (False, True)
    }
    spent = interleaved(runs, rounds)  # type: ignore[arg-type]  # the keys are pairs
    milli = {key: [one.processor * 1e3 / epochs for one in taken] for key, taken in spent.items()}
    raw = torch.stack(losses["raw"])
    same = {name: "bit-equal" if torch.equal(raw, torch.stack(losses[name])) else "DIFFERENT" for name in packages}
    plain = {name: milli[name, False] for name in ("raw", *packages)}
    bars = {name: over(milli[name, True], milli[name, False], 1) for name in packages}
    return [
        Row("LSTM(10, 20), an epoch of 20 batches", plain, "ms", digits=2),
        Row("its losses beside those of raw", {}, facts=same),
        Row("the bar in such an epoch, no terminal", bars, "ms", digits=2),
    ]


def epoch_ends(packages: dict[str, ModuleType], rounds: int, epochs: int = 50) -> list[Row]:
    """Milliseconds of an epoch of one batch and a validation of one batch; and with a worker process that stays."""
    rows = []
    for what, count, times, options in (
        ("an epoch of 1 batch and its validation", epochs, rounds, {}),
        ("the same, each loader with 1 persistent worker", 10, 3, {"num_workers": 1, "persistent_workers": True}),
    ):
        loaders = partial(sequences, 1, **options)  # type: ignore[arg-type]  # options of DataLoader

        def by_hand(count: int = count, loaders: Any = loaders) -> Spent:
            return recurrent_by_hand(loaders(), count, loaders())[0]

        def run(package: ModuleType, count: int = count, loaders: Any = loaders) -> Spent:
            return trained(package, recurrent(package, validates=True), loaders(), loaders(), max_epochs=count)

        runs = {"raw": by_hand} | {name: partial(run, package) for name, package in packages.items()}
        spent = interleaved(runs, times)
        figures = {name: [one.wall * 1e3 / count for one in taken] for name, taken in spent.items()}
        rows.append(Row(what, figures, "ms", digits=2))
    return rows
