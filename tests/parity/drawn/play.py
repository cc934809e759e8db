"""Runs a drawn program."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from parity.drawn.agreed import Spec
from parity.drawn.module import Drawn, callback, make
from parity.models import Stream, batches, samples
from parity.recording import Seen, capture
from placed import KeepsPlaceAndLength


def play(spec: Spec, seen: Seen) -> None:
    """Train as ``spec`` says, and what it says is done after that."""
    callbacks = [callback(wanted, seen.folder / "kept") for wanted in spec["callbacks"]]
    trainer = seen.trainer(**_options(spec, seen), callbacks=[Watching(seen, spec), *callbacks])
    loaders, sources = loaders_of(spec, seen)
    module = seen.watched(make(spec, loaders))
    _fit(trainer, module, sources, seen)
    for saver in trainer.checkpoint_callbacks:
        _note_files(saver, seen)
    for stage in spec["then"]:
        if stage == "again":
            trainer.fit_loop.max_epochs = max(0, trainer.max_epochs or 0) + 1
            _fit(trainer, module, sources, seen)
        elif stage == "resume":
            _resume(spec, seen)
        elif stage != "best":
            _evaluate(trainer, module, stage, spec, seen)
        elif getattr(trainer.checkpoint_callback, "best_model_path", ""):
            _evaluate(trainer, module, "validate", spec, seen, ckpt_path="best")
    if "csv" in spec["trainer"]:
        seen.values["csv"] = [list(_rows(path)) for path in sorted(seen.folder.rglob("metrics.csv"))]


def _fit(trainer: Any, module: Any, sources: dict[str, Any], seen: Seen, **options: Any) -> None:
    try:
        trainer.fit(module, **sources, **options)
    except Drawn as failed:
        seen.values.setdefault("failed", []).append(str(failed))
        seen.trainers.remove(trainer)  # Lightning's metrics are those of the batch before
    status = str.__str__(trainer.state.status.value)
    seen.values.setdefault("status", []).append([status, trainer.interrupted, trainer.state.finished])


def _evaluate(trainer: Any, module: Any, stage: str, spec: Spec, seen: Seen, **options: Any) -> None:
    made = batches(4) if stage == "predict" else _loader(spec["data"]["train"][0] | {"shuffle": False})
    sources: dict[str, Any] = {"dataloaders": made}
    if spec["data"]["by"] == "data_module":
        name = f"{'val' if stage == 'validate' else stage}_dataloader"
        sources = {"datamodule": seen.watched(type("Data", (pl.LightningDataModule,), {name: lambda self: made})())}
    options |= {} if stage == "predict" else {"verbose": False}
    seen.values.setdefault(stage, []).append(getattr(trainer, stage)(module, **sources, **options))


def _resume(spec: Spec, seen: Seen) -> None:
    """Go on from the newest file with another Trainer and module. A resumed epoch goes on with its sums with Leyden
    alone, so that what is logged is not compared."""
    files = sorted((seen.folder / "kept").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    if not files:
        return
    seen.logged, before = [], seen.logged
    options = {name: value for name, value in spec["trainer"].items() if name != "csv"}
    callbacks = [callback(wanted, seen.folder / "kept") for wanted in spec["callbacks"]]
    watching = Watching(seen, spec, metrics=False)
    trainer = seen.trainer(**options | {"max_epochs": 5}, callbacks=[watching, *callbacks])
    loaders, sources = loaders_of(spec, seen)
    _fit(trainer, seen.watched(make(spec, loaders)), sources, seen, ckpt_path=files[-1])
    seen.logged = before
    seen.trainers.remove(trainer)


def _options(spec: Spec, seen: Seen) -> dict[str, Any]:
    options = dict(spec["trainer"])
    if every := options.pop("csv", None):
        files = pl.loggers.CSVLogger(seen.folder, flush_logs_every_n_steps=every)
        options["logger"] = [capture(seen.logged), files]
    return options


def _rows(path: Path) -> Iterator[dict[str, float]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield {name: float(value) for name, value in row.items() if value}


def _note_files(saver: Any, seen: Seen) -> None:
    seen.values["files"] = sorted(path.name for path in (seen.folder / "kept").glob("*"))
    seen.values["best"] = [Path(saver.best_model_path).name, saver.best_model_score]
    seen.values["scores"] = {Path(path).name: score for path, score in saver.best_k_models.items()}
    seen.values["kth"] = [Path(saver.kth_best_model_path).name, saver.kth_value]


class Watching(pl.Callback):
    """Notes what the Trainer says of itself at each batch."""

    def __init__(self, seen: Seen, spec: Spec, metrics: bool = True) -> None:
        self.seen, self.metrics = seen, metrics
        self.streamed = any(loader["stream"] for loader in spec["data"]["train"])
        self.combined = spec["data"]["together"] not in (None, "dict", "sequential")

    def _note(self, where: str, trainer: Any) -> None:
        noted = {
            "where": where,
            "global_step": trainer.global_step,
            "current_epoch": trainer.current_epoch,
            "last": self.streamed or trainer.is_last_batch,  # Lightning does not know it of a stream with a limit
            "batches": str(trainer.num_training_batches),
            "val_batches": "" if self.combined else str(trainer.num_val_batches),  # Lightning's are of each loader
            "rates": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
            "training": trainer.lightning_module.training,
        }
        if self.metrics:
            noted["logged"] = dict(trainer.logged_metrics)
            noted["callback"] = dict(trainer.callback_metrics)
            noted["bar"] = dict(trainer.progress_bar_metrics)
        self.seen.values.setdefault("noted", []).append(noted)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._note(f"batch {batch_idx} {sorted(outputs) if isinstance(outputs, dict) else outputs}", trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._note("epoch", trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:  # where Lightning forgets what was logged of several loaders
            self._note("validation", trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._note("end", trainer)


def _loader(wanted: Spec) -> Any:
    if wanted["stream"]:
        return DataLoader(Stream(wanted["count"]), wanted["batch_size"])
    data, size, options = samples(wanted["count"]), wanted["batch_size"], {"drop_last": wanted["drop_last"]}
    if wanted["own"] == "place":
        return KeepsPlaceAndLength(DataLoader(data, size, **options))
    options["shuffle"] = wanted["shuffle"]
    if wanted["own"] == "batches":
        order = RandomSampler(data) if wanted["shuffle"] else SequentialSampler(data)
        return DataLoader(data, batch_sampler=Backwards(order, size, wanted["drop_last"]))
    if wanted["own"] == "generator":
        options["generator"] = torch.Generator().manual_seed(5)
    return DataLoader(data, size, **options)


class Backwards(BatchSampler):
    """Batches that are not torch's own."""

    def __iter__(self) -> Iterator[list[int]]:
        return (batch[::-1] for batch in super().__iter__())


def _train(data: Spec) -> Any:
    made = [_loader(wanted) for wanted in data["train"]]
    if data["several"]:
        return pl.utilities.CombinedLoader(dict(zip("abc", made, strict=False)), data["several"])
    return made[0]


def _val(data: Spec) -> Any:
    made = [_loader(wanted) for wanted in data["val"]]
    if data["together"] == "dict":
        return dict(zip("ab", made, strict=False))
    return pl.utilities.CombinedLoader(made, data["together"]) if data["together"] else made


def loaders_of(spec: Spec, seen: Seen) -> tuple[dict[str, Callable[[Any], Any]], dict[str, Any]]:
    """The loaders that are methods of the module, and what ``fit`` is given."""
    data = spec["data"]
    methods: dict[str, Callable[[Any], Any]] = {"train_dataloader": lambda self: _train(data)}
    methods |= {"val_dataloader": lambda self: _val(data)} if data["val"] else {}
    if data["by"] == "module":
        return methods, {}
    if data["by"] == "data_module":
        return {}, {"datamodule": seen.watched(type("Data", (pl.LightningDataModule,), methods)())}
    return {}, {"train_dataloaders": _train(data)} | ({"val_dataloaders": _val(data)} if data["val"] else {})
