"""Lightning's ``ModelCheckpoint``: single ``.ckpt`` files, the best of a monitored metric and the last."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, bad_value, one_of
from leyden.loggers.guard import tell

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

MODES = ("min", "max")
FIELD = re.compile(r"(?P<open>\{)(?P<name>[^:}\[]+)(?P<format>:[^}]*)?\}")


class ModelCheckpoint(Callback):
    """Save ``.ckpt`` files to ``dirpath`` (default: ``<default_root_dir>/checkpoints``).

    Keeps the ``save_top_k`` best by ``monitor`` (-1: all; without a monitor, the newest one only), and with
    ``save_last`` a ``last.ckpt`` too. Saves at the end of an epoch or of a validation, every ``every_n_epochs``, or
    every ``every_n_train_steps``, or every ``train_time_interval``; at most one of the three.
    """

    watches_metrics = True
    CHECKPOINT_NAME_LAST = "last"

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | None = None,
        save_top_k: int = 1,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
    ) -> None:
        if mode not in MODES:
            raise one_of("mode", mode, MODES)
        if not isinstance(save_top_k, int) or save_top_k < -1:
            raise bad_value("save_top_k", save_top_k, "-1 (all), 0 (none) or a number of files to keep")
        if monitor is None and save_top_k not in (-1, 0, 1):
            raise MisconfigurationError(f"save_top_k={save_top_k} needs a monitor: without one, use -1, 0 or 1")
        if sum(value is not None for value in (every_n_train_steps, train_time_interval, every_n_epochs)) > 1:
            raise MisconfigurationError(
                "every_n_train_steps, train_time_interval and every_n_epochs exclude each other: give one of them"
            )
        self.dirpath = Path(dirpath) if dirpath is not None else None
        self.filename = filename
        self.monitor = monitor
        self.verbose = verbose
        self.save_last = save_last
        self.save_top_k = save_top_k
        self.save_weights_only = save_weights_only
        self.mode = mode
        self.auto_insert_metric_name = auto_insert_metric_name
        self.every_n_train_steps = every_n_train_steps
        self.train_time_interval = train_time_interval
        timed = every_n_train_steps is not None or train_time_interval is not None
        self.every_n_epochs = every_n_epochs if every_n_epochs is not None else (0 if timed else 1)
        self.save_on_train_epoch_end = save_on_train_epoch_end
        self.best_k_models: dict[str, torch.Tensor] = {}
        self.best_model_path = ""
        self.best_model_score: torch.Tensor | None = None
        self.last_model_path = ""
        self._last_step_saved = 0
        self._last_time = 0.0

    @property
    def state_key(self) -> str:
        shown = {
            name: getattr(self, name)
            for name in ("monitor", "mode", "every_n_train_steps", "every_n_epochs", "train_time_interval")
        }
        return f"ModelCheckpoint{shown}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "best_model_score": self.best_model_score,
            "best_model_path": self.best_model_path,
            "best_k_models": dict(self.best_k_models),
            "last_model_path": self.last_model_path,
            "dirpath": str(self.dirpath) if self.dirpath is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["dirpath"] != (str(self.dirpath) if self.dirpath is not None else None):
            return  # another directory: what is in the old one is not this callback's to keep or remove
        self.best_model_score = state_dict["best_model_score"]
        self.best_model_path = state_dict["best_model_path"]
        self.best_k_models = dict(state_dict["best_k_models"])
        self.last_model_path = state_dict["last_model_path"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = trainer.default_root_dir / "checkpoints"
        if stage == "fit":
            self._last_time = time.monotonic()
        if self.save_on_train_epoch_end is None:
            settings = trainer.settings
            self.save_on_train_epoch_end = settings.val_check_interval == 1.0 and settings.check_val_every_n_epoch == 1

    # When to save.

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps, interval = self.every_n_train_steps, self.train_time_interval
        if steps is not None:
            due = trainer.run_state.batches_stepped % steps == 0
        elif interval is not None:
            over = time.monotonic() - self._last_time >= interval.total_seconds()
            due = bool(trainer.strategy.broadcast_object(over))
            self._last_time = time.monotonic() if due else self._last_time
        else:
            return
        if due and trainer.global_step != self._last_step_saved:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save_on_train_epoch_end and self._epoch_is_due(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.fitting or self.save_on_train_epoch_end:
            return
        if self._epoch_is_due(trainer):
            self._save(trainer)

    def _epoch_is_due(self, trainer: Trainer) -> bool:
        every = self.every_n_epochs
        new = trainer.global_step != self._last_step_saved
        return every > 0 and (trainer.current_epoch + 1) % every == 0 and new

    # What to save and what to drop.

    def _save(self, trainer: Trainer) -> None:
        self._last_step_saved = trainer.global_step
        metrics = {name: value for name, value in trainer.callback_metrics.items()}
        metrics.update(epoch=torch.tensor(trainer.current_epoch), step=torch.tensor(trainer.global_step))
        if self.save_top_k != 0:
            self._save_ranked(trainer, metrics)
        if self.save_last:
            path = self._directory() / f"{self.CHECKPOINT_NAME_LAST}.ckpt"
            self.last_model_path = str(path)
            trainer.save_checkpoint(path, self.save_weights_only)
        tell(trainer.loggers, lambda logger: logger.after_save_checkpoint(self))

    def _save_ranked(self, trainer: Trainer, metrics: dict[str, torch.Tensor]) -> None:
        score = self._score(trainer, metrics)
        if score is not None and not self._is_among_best(score):
            return
        path = self._free_path(trainer, metrics)
        dropped = self._rank(path, score)
        trainer.save_checkpoint(path, self.save_weights_only)
        if trainer.is_global_zero:
            if dropped and dropped != path:
                Path(dropped).unlink(missing_ok=True)
            if self.verbose:
                print(f"ModelCheckpoint: {self.monitor or 'step'} saved to {path}", flush=True)

    def _score(self, trainer: Trainer, metrics: dict[str, torch.Tensor]) -> torch.Tensor | None:
        if self.monitor is None:
            return None
        if self.monitor not in metrics:
            known = ", ".join(sorted(metrics))
            raise MisconfigurationError(f"ModelCheckpoint monitors {self.monitor!r}, but the metrics are: {known}")
        score = metrics[self.monitor].detach().cpu()
        worst = float("inf") if self.mode == "min" else -float("inf")
        return torch.tensor(worst) if torch.isnan(score) else score

    def _is_among_best(self, score: torch.Tensor) -> bool:
        if self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k:
            return True
        return self._better(float(score), float(self.best_k_models[self._worst()]))

    def _rank(self, path: str, score: torch.Tensor | None) -> str | None:
        """Take a file among the best. Returns the one that has to go."""
        if score is None:
            dropped = self.best_model_path if self.save_top_k == 1 else None
            self.best_model_path = path
            return dropped
        self.best_k_models[path] = score
        full = self.save_top_k != -1 and len(self.best_k_models) > self.save_top_k
        dropped = self._worst() if full else None
        if dropped is not None:
            del self.best_k_models[dropped]
        pick = min if self.mode == "min" else max
        self.best_model_path = pick(self.best_k_models, key=lambda name: float(self.best_k_models[name]))
        self.best_model_score = self.best_k_models[self.best_model_path]
        return dropped

    def _worst(self) -> str:
        pick = max if self.mode == "min" else min
        return pick(self.best_k_models, key=lambda name: float(self.best_k_models[name]))

    def _better(self, one: float, other: float) -> bool:
        return one < other if self.mode == "min" else one > other

    # Names.

    def format_checkpoint_name(self, metrics: dict[str, Any]) -> str:
        """The file's name without its ending; ``{name}`` and ``{name:format}`` stand for metrics."""
        pattern = self.filename if self.filename is not None else "{epoch}-{step}"

        def field(found: re.Match[str]) -> str:
            name, given = found["name"], found["format"] or ""
            value = metrics.get(name, 0)
            number = value.item() if isinstance(value, torch.Tensor) else value
            text = f"{{0{given}}}".format(number)
            return f"{name}={text}" if self.auto_insert_metric_name else text

        return FIELD.sub(field, pattern)

    def _directory(self) -> Path:
        assert self.dirpath is not None, "setup() sets it"
        return self.dirpath

    def _free_path(self, trainer: Trainer, metrics: dict[str, Any]) -> str:
        """A path that no other file has, unless it is this callback's own. Rank 0 looks for all."""
        stem = self.format_checkpoint_name(metrics)
        path = self._directory() / f"{stem}.ckpt"
        version = 1
        while trainer.is_global_zero and path.exists() and str(path) not in (*self.best_k_models, self.best_model_path):
            path = self._directory() / f"{stem}-v{version}.ckpt"
            version += 1
        return str(trainer.strategy.broadcast_object(str(path)))
