"""Runs a drawn program whole, interrupted and resumed, and from a file of ModelCheckpoint: all must end alike. With
Leyden alone, since Lightning's runs do not."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch

from leyden import elastic
from leyden.callbacks import CheckpointDirectory
from parity.drawn.agreed import Spec, goes_on_from_files
from parity.drawn.module import callback, make
from parity.drawn.play import loaders_of
from parity.recording import Seen


class Stop(pl.Callback):
    """Tells the last rank to stop at a batch."""

    def __init__(self, batch: int) -> None:
        self.batches_left = batch

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.batches_left -= 1
        if not self.batches_left and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def interrupt(spec: Spec, seen: Seen) -> None:
    """Note what the runs came to; nothing of a resumed one where the run was over before, or had left no file."""
    whole, _ = _run(spec, seen, seen.folder / "whole")
    seen.values["whole"] = whole
    folder, logged = seen.folder / "resumed", len(seen.logged)
    with mock.patch.object(elastic, "AGREE_SECONDS", 0):  # several processes would be over before they agree
        _, over = _run(spec, seen, folder, stop=spec["stop"])
    if not over:
        resumed, over = _run(spec, seen, folder, seed=99)
        assert over, "stopped once more"
        seen.values["resumed"] = resumed | {"logged": seen.logged[logged:]}
    file = _file_in_the_middle(seen.folder / "whole" / "kept", whole) if goes_on_from_files(spec) else None
    if file is not None:
        seen.values["from_file"], _ = _run(spec, seen, seen.folder / "from_file", seed=99, ckpt_path=file)


def _file_in_the_middle(folder: Path, whole: dict[str, Any]) -> Path | None:
    """One that is not of the run's end, after which nothing is done."""
    found = []
    for path in sorted(folder.glob("*.ckpt")):
        run = torch.load(path, weights_only=True)["leyden"]["run"]
        whole_epochs = run["epoch"] + run["epoch_done"]
        if run["global_step"] != whole["global_step"] and whole_epochs != whole["current_epoch"]:
            found.append(path)
    return found[len(found) // 2] if found else None


def _run(
    spec: Spec, seen: Seen, folder: Path, stop: int = 0, seed: int = 7, ckpt_path: Path | None = None
) -> tuple[dict[str, Any], bool]:
    """What a run comes to, and whether it was over rather than interrupted."""
    random.seed(seed)
    torch.manual_seed(seed)
    callbacks = [callback(wanted, folder / "kept") for wanted in spec["callbacks"]]
    callbacks += [CheckpointDirectory(folder / "directory"), *([Stop(stop)] if stop else [])]
    first = len(seen.logged)
    trainer = seen.trainer(**spec["trainer"], callbacks=callbacks)
    loaders, sources = loaders_of(spec, seen)
    module = make(spec, loaders)
    over = True
    signal.signal(signal.SIGTERM, lambda *_: None)  # a run that is over when it comes passes it on to the program
    try:
        trainer.fit(module, **sources, ckpt_path=ckpt_path)
    except SystemExit:
        over = False
    return {
        "weights": dict(module.state_dict()),
        "global_step": trainer.global_step,
        "current_epoch": trainer.current_epoch,
        "callback_metrics": dict(trainer.callback_metrics),
        "rates": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
        "callbacks": [_without_paths(one) for one in trainer.callbacks if isinstance(one, STATEFUL)],
        "files": sorted(path.name for path in (folder / "kept").glob("*")),
        "next_random_number": torch.rand(1),
        "logged": seen.logged[first:],
    }, over


STATEFUL = (pl.callbacks.EarlyStopping, pl.callbacks.ModelCheckpoint)


def _without_paths(of: Any) -> dict[str, Any]:
    """The state of a callback without what names its folder, or is not filled in where a run ends early."""
    left_out = ("dirpath", "best_k_models", "current_score")
    return {name: value for name, value in of.state_dict().items() if name not in left_out and "path" not in name}
