"""Lightning's ``ModelCheckpoint``: single ``.ckpt`` files, the best of a monitored metric and the last."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from leyden.callbacks.best_models import BestModels
from leyden.checkpoint import files
from leyden.checkpoint.capture import capture
from leyden.checkpoint.io import AsyncCheckpointIO
from leyden.checkpoint.places import Place, place
from leyden.checkpoint.saving import Saving
from leyden.errors import CheckpointStorage, LeydenError, MisconfigurationError, at_least, bad_value, one_of
from leyden.loggers.base import tell

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

FIELD = re.compile(r"\{(?P<name>[^:}\[]+)(:(?P<format>[^}]*))?\}")


class ModelCheckpoint(BestModels):
    """Save ``.ckpt`` files to ``dirpath`` (a path or a URL; default: ``<default_root_dir>/checkpoints``).

    Keeps the ``save_top_k`` best by ``monitor`` (-1: all; without a monitor, the newest one only), and with
    ``save_last`` a ``last.ckpt`` too, which ``"link"`` makes a symbolic link to the newest file. Saves at the end of an
    epoch or of a validation, every ``every_n_epochs``, or every ``every_n_train_steps``, or every
    ``train_time_interval``; at most one of the three. ``save_on_exception``: also when a fit breaks, on one process.

    A file is there when the hook that saves it returns, as programs expect that open ``best_model_path`` at once; with
    ``asynchronous`` a thread writes it, and it is there before the next save begins and when ``fit`` returns. A save
    that fails is a warning, and training goes on; where the last one fails, the run ends with ``CheckpointStorage``.
    """

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
        asynchronous: bool = False,
    ) -> None:
        super().__init__(monitor, mode, save_top_k)
        if save_last not in (None, True, False, "link"):
            raise one_of("save_last", save_last, (None, True, False, "link"))
        occasions = (every_n_train_steps, train_time_interval, every_n_epochs)
        self.dirpath = dirpath
        self.filename = filename
        self.verbose = verbose
        self.save_last = save_last
        self.save_on_exception = save_on_exception
        self.save_weights_only = save_weights_only
        self.auto_insert_metric_name = auto_insert_metric_name
        self.every_n_train_steps = at_least("every_n_train_steps", every_n_train_steps or 0, 0)
        self.train_time_interval = train_time_interval
        self.every_n_epochs = 1 if occasions == (None,) * 3 else at_least("every_n_epochs", every_n_epochs or 0, 0)
        self.save_on_train_epoch_end = save_on_train_epoch_end
        self.enable_version_counter = enable_version_counter
        if bool(self.every_n_train_steps) + bool(self.every_n_epochs) + (train_time_interval is not None) > 1:
            raise MisconfigurationError(
                "every_n_train_steps, train_time_interval and every_n_epochs exclude each other: give one of them"
            )
        self._saving = Saving(asynchronous)
        self._before: dict[str, Any] | None = None
        """The books before the save that is not known to be durable yet."""
        self._unannounced = False
        self._last_step_saved = self._last_step_written = 0
        """0: nothing is saved yet. A run that is leaving only writes: one that goes on has not saved there."""
        self._last_time = 0.0
        self._deferred = False

    @property
    def state_key(self) -> str:
        shown = {
            name: getattr(self, name)
            for name in ("monitor", "mode", "every_n_train_steps", "every_n_epochs", "train_time_interval")
        }
        return f"{type(self).__qualname__}{shown}"

    @property
    def dirpath(self) -> str | None:
        """Where the files go, once that is known."""
        return str(self._folder) if self._folder is not None else None

    @dirpath.setter
    def dirpath(self, given: str | Path | None) -> None:
        self._folder = _absolute(place(given)) if given else None

    def state_dict(self) -> dict[str, Any]:
        saved = {"last_step_saved": self._last_step_saved, "deferred": self._deferred}
        return {"monitor": self.monitor, "dirpath": self.dirpath, **self.books(), **saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Files in another directory are not this callback's to keep or remove; only the best one's path is taken."""
        if state_dict["dirpath"] == self.dirpath:
            self.restore_books(state_dict)
            self._last_step_saved = state_dict.get("last_step_saved", self._last_step_saved)
            self._deferred = state_dict.get("deferred", False)
        self.best_model_path = state_dict["best_model_path"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Rank 0's: a name may tell the time, or chance.
        folder = self._folder = _absolute(place(trainer.strategy.broadcast(str(self.directory(trainer)))))
        if self.save_last == "link" and not isinstance(folder, Path):
            raise bad_value("save_last", "link", f"None, True or False where dirpath is a URL, as {self.dirpath} is")
        if stage != "fit" or trainer.fast_dev_run:
            return
        self._saving.asynchronous |= isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO)
        self._last_time = time.monotonic()
        if trainer.is_global_zero:
            try:  # better now than after an epoch
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CheckpointStorage(
                    f"the checkpoint directory {folder} cannot be written: {error.strerror}"
                ) from error

    def directory(self, trainer: Trainer) -> Place:
        """Where the files go."""
        if self._folder is not None:
            return self._folder
        return _absolute(trainer.settings.default_root_dir / "checkpoints")

    # When to save.

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps, interval = self.every_n_train_steps, self.train_time_interval
        if interval is not None:
            over = time.monotonic() - self._last_time >= interval.total_seconds()
            due = bool(trainer.strategy.broadcast(over))
            self._last_time = time.monotonic() if due else self._last_time
        else:
            due = steps > 0 and trainer.global_step % steps == 0
        if due and trainer.global_step != self._last_step_saved:
            if self._waits_for_validation(trainer):
                self._deferred = True
            else:
                self._save(trainer)

    def _waits_for_validation(self, trainer: Trainer) -> bool:
        """Whether the monitored metric is still to come, or about to be measured anew."""
        if self.monitor is None:
            return False
        validates = trainer.is_last_batch and trainer.enable_validation and trainer.epoch_validates
        anew = validates and not self._saves_at_epoch_end(trainer)
        return anew or self.monitor not in self._metrics(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saves_at_epoch_end(trainer) and self._epoch_is_due(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.fitting or self._saves_at_epoch_end(trainer):
            return
        deferred, self._deferred = self._deferred, False
        if (deferred and trainer.global_step != self._last_step_saved) or self._epoch_is_due(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save_last and not self._last_step_saved and not trainer.fast_dev_run:
            self._save_last(trainer)
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._saving.abandon(trainer)
        saved = trainer.global_step == self._last_step_written or trainer.fast_dev_run
        if not self.save_on_exception or saved or trainer.sanity_checking or trainer.world_size > 1:
            return  # a rank that broke cannot count on the others
        try:
            trainer.save_checkpoint(self._free_path(trainer), self.save_weights_only)
            if self.save_last:
                self.last_model_path = self._last_path(trainer)
                trainer.save_checkpoint(self.last_model_path, self.save_weights_only)
        except LeydenError as error:
            trainer.warn(f"ModelCheckpoint: {error}")

    def before_commit(self, trainer: Trainer) -> None:
        if self.save_last and not self.last_model_path:
            self.last_model_path = self._last_path(trainer)

    def commit(self, trainer: Trainer) -> bool:
        """Save what the next run goes on from, before this one stops on request, and wait until it is durable.

        Whether there is such a file: only with ``save_last`` or ``save_on_exception``, as others keep what is best.
        """
        self._settle(trainer)
        asked = bool(self.save_last or self.save_on_exception)
        wanted = asked and not self.save_weights_only and not trainer.fast_dev_run
        if wanted and trainer.global_step != self._last_step_saved:
            if self.save_last:
                self._save_last(trainer)
            else:
                self._write(trainer, self._free_path(trainer))
        self._finish(trainer)
        return wanted

    def _saves_at_epoch_end(self, trainer: Trainer) -> bool:
        settings = trainer.settings
        if self.save_on_train_epoch_end is not None:
            return self.save_on_train_epoch_end
        if isinstance(settings.val_check_interval, timedelta) or settings.check_val_every_n_epoch != 1:
            return False
        return not trainer.enable_validation or settings.val_check_interval == 1.0

    def _epoch_is_due(self, trainer: Trainer) -> bool:
        every = self.every_n_epochs
        new = trainer.global_step != self._last_step_saved
        return every > 0 and (trainer.current_epoch + 1) % every == 0 and new

    # What to save and what to drop.

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:
            return
        if self.save_top_k != 0:
            self._save_ranked(trainer)
        linked = self.save_last == "link" and self.save_top_k != 0 and self._last_step_saved
        if self.save_last and not linked:
            self._save_last(trainer)

    def _save_ranked(self, trainer: Trainer) -> None:
        self._settle(trainer)
        score = self._score(trainer)
        if self.monitor is not None and (score is None or not self.is_among_best(score)):
            return
        before = self.books()
        path = self._free_path(trainer, own=self.replaced)
        dropped = self.rank(path, score)
        if self.save_last == "link":
            self.last_model_path = self._last_path(trainer)
        self._write(trainer, path, dropped, before, link=self.last_model_path if self.save_last == "link" else "")
        if self.verbose:
            trainer.print(f"ModelCheckpoint: {self.monitor or 'step'} saved to {path}", flush=True)

    def _save_last(self, trainer: Trainer) -> None:
        self._settle(trainer)
        before = self.books()
        path = self._last_path(trainer)
        previous, self.last_model_path = self.last_model_path, path
        self._write(trainer, path, previous, before)

    def _settle(self, trainer: Trainer) -> None:
        """Take back what the books say of a file that could not be written. Of one that is there, tell the loggers,
        since they may take it as an artifact."""
        self._saving.settle(trainer)
        if self._saving.problem is None and self._unannounced:
            tell(trainer.loggers, lambda logger: logger.after_save_checkpoint(self))
        elif self._before is not None and self._saving.problem is not None:
            self.restore_books(self._before)
        self._before, self._unannounced = None, False

    def _finish(self, trainer: Trainer) -> None:
        self._settle(trainer)
        self._saving.finish(trainer)

    def _write(
        self, trainer: Trainer, path: str, dropped: str | None = None, before: Any = None, link: str = ""
    ) -> None:
        """One file; the one that it takes the place of goes when it is durable. What was written before is settled."""
        self._before, self._last_step_written = before, trainer.global_step
        if not trainer.leaving:
            self._last_step_saved = trainer.global_step
        self._unannounced = True
        io = trainer.strategy.checkpoint_io
        gone = dropped if dropped and self._may_go(trainer, dropped, path) else None

        def write(contents: dict[str, Any]) -> None:
            io.save_checkpoint(contents, path)
            if link:
                files.link(Path(link), Path(path))
            if gone is not None:
                io.remove_checkpoint(gone)

        self._saving.save(trainer, dict(capture(trainer, self.save_weights_only)), write)  # hooks may keep theirs
        trainer.tick()
        if not self._saving.asynchronous:
            self._settle(trainer)

    def _may_go(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Not the file that was just written, the one that the run came from, or one outside of the directory."""
        kept = (current, str(_absolute(place(trainer.ckpt_path))) if trainer.ckpt_path else "")
        return previous not in kept and previous.startswith(f"{self.dirpath}/")

    def _score(self, trainer: Trainer) -> torch.Tensor | None:
        """The monitored metric of rank 0, which writes. Missing after a validation, it is an error; else a warning."""
        if self.monitor is None:
            return None
        metrics = self._metrics(trainer)
        if self.monitor not in metrics:
            said = f"ModelCheckpoint monitors {self.monitor!r}, but the metrics are: {', '.join(sorted(metrics))}"
            if trainer.validate_loop is not None and trainer.validate_loop.has_run:
                raise MisconfigurationError(said)
            trainer.warn(said)
            return None
        score: torch.Tensor = trainer.strategy.broadcast(torch.as_tensor(metrics[self.monitor]).detach().cpu())
        return torch.tensor(self.worst_value) if torch.isnan(score) else score

    def to_yaml(self, filepath: str | Path | None = None) -> None:
        """Write the best files and their scores as YAML, by default to ``best_k_models.yaml`` beside them."""
        import yaml

        assert self._folder is not None, "setup() sets it"
        target = place(filepath) if filepath is not None else self._folder / "best_k_models.yaml"
        scores = {path: float(score) for path, score in self.best_k_models.items()}
        target.write_bytes(yaml.safe_dump(scores).encode())

    # Names.

    def _metrics(self, trainer: Trainer) -> dict[str, Any]:
        """What was logged, and the counters, unless they were logged under the same names."""
        metrics = dict(trainer.callback_metrics)
        for name, counter in (("epoch", trainer.current_epoch), ("step", trainer.global_step)):
            metrics[name] = metrics[name].int() if name in metrics else torch.tensor(counter)
        return metrics

    def format_checkpoint_name(
        self, metrics: Mapping[str, Any], filename: str | None = None, ver: int | None = None, prefix: str | None = None
    ) -> str:
        """The file's path; ``{name}`` and ``{name:format}`` in its name stand for metrics, 0 where there is none."""

        def field(found: re.Match[str]) -> str:
            name = found["name"]
            value = metrics.get(name, 0)
            text = format(value.item() if isinstance(value, torch.Tensor) else value, found["format"] or "")
            return f"{name}{self.CHECKPOINT_EQUALS_CHAR}{text}" if self.auto_insert_metric_name else text

        pattern = filename or self.filename or f"{{epoch}}{self.CHECKPOINT_JOIN_CHAR}{{step}}"
        version = f"v{ver}" if ver is not None else None
        parts = [part for part in (prefix, FIELD.sub(field, pattern), version) if part is not None]
        name = f"{self.CHECKPOINT_JOIN_CHAR.join(parts)}{self.FILE_EXTENSION}"
        return str(self._folder / name) if self._folder is not None else name

    def _last_path(self, trainer: Trainer) -> str:
        return self._free_path(trainer, self.CHECKPOINT_NAME_LAST, self.last_model_path)

    def _free_path(self, trainer: Trainer, filename: str | None = None, own: str = "") -> str:
        """A path that no other file has than ``own``, which the new one is to replace. Rank 0 looks for all."""
        metrics = self._metrics(trainer)
        path = self.format_checkpoint_name(metrics, filename)
        version = self.STARTING_VERSION
        while self.enable_version_counter and trainer.is_global_zero and path != own and place(path).exists():
            path = self.format_checkpoint_name(metrics, filename, ver=version)
            version += 1
        return str(trainer.strategy.broadcast(path))


def _absolute(given: Place) -> Place:
    return given.expanduser().absolute() if isinstance(given, Path) else given
