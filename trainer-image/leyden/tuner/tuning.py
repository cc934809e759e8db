"""``Tuner``: short runs of a Trainer that leave the module, the Trainer and the generators as they were."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from leyden import rng
from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, bad_value, one_of
from leyden.tuner.lr_finder import LRFinder, RateSweep

if TYPE_CHECKING:
    from leyden.data import LightningDataModule
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

RATE_NAMES = ("lr", "learning_rate")
MODES = ("power", "binsearch")
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUDNN_STATUS_NOT_SUPPORTED")
"""Parts of the messages of torch's errors when a batch is too large."""


class Tuner:
    """Finds values of hyperparameters for a Trainer."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def lr_find(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Train ``num_training`` steps at rates from ``min_lr`` to ``max_lr``, until the smoothed loss exceeds
        ``early_stop_threshold`` times its best. ``update_attr`` sets the suggestion as ``attr_name``, by default
        ``model.lr`` or ``model.learning_rate``. ``None`` under ``fast_dev_run``.
        """
        if self._trainer.settings.fast_dev_run:
            return None
        name = _rate_name(model, attr_name) if update_attr else ""
        finder = LRFinder(mode, min_lr, max_lr, num_training)
        with self._unchanged(model):
            sweep = RateSweep(finder, early_stop_threshold)
            self._probe(num_training, sweep).fit(model, train_dataloaders, datamodule=datamodule)
        if update_attr and (suggested := finder.suggestion()) is not None:
            _set(model, None, name, suggested)
        return finder

    def scale_batch_size(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """The largest batch size that fits into memory, by doubling from ``init_val``; with ``mode="binsearch"`` then
        by halving the interval, less ``margin``. It is set as ``batch_arg_name`` of the module, its hyperparameters or
        the data module, whose loaders must use it. ``None`` under ``fast_dev_run``.
        """
        if self._trainer.settings.fast_dev_run:
            return None
        if mode not in MODES:
            raise one_of("mode", mode, MODES)
        if not 0 <= margin < 1:
            raise bad_value("margin", margin, "a share from 0.0 to below 1.0")
        if train_dataloaders is not None:
            raise bad_value(
                "train_dataloaders", type(train_dataloaders).__qualname__, "left out: the loader is made anew"
            )
        before = _get(model, datamodule, batch_arg_name)
        found = init_val
        try:
            with self._unchanged(model):

                def fits(size: int) -> bool:
                    _set(model, datamodule, batch_arg_name, size)
                    return self._fits(model, datamodule, steps_per_trial)

                found = largest(fits, init_val, max_trials, max_val, halve=mode == "binsearch")
        except BaseException:
            _set(model, datamodule, batch_arg_name, before)
            raise
        if mode == "binsearch":
            found = max(1, int(found * (1 - margin)))
        _set(model, datamodule, batch_arg_name, found)
        return found

    def _fits(self, model: LightningModule, datamodule: LightningDataModule | None, steps: int) -> bool:
        try:
            self._probe(steps).fit(model, datamodule=datamodule)
        except RuntimeError as error:
            if not any(part in str(error) for part in OUT_OF_MEMORY):
                raise
            return False
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return True

    def _probe(self, steps: int, *callbacks: Callback) -> Trainer:
        """A Trainer like ours that trains a few steps and nothing else."""
        probe = copy.copy(self._trainer)
        only = {"max_steps": steps, "max_epochs": -1, "min_epochs": 0, "min_steps": 0, "limit_val_batches": 0}
        probe.settings = replace(self._trainer.settings, **only)  # type: ignore[arg-type]  # all of them are integers
        probe.callbacks, probe.loggers, probe.profiler = list(callbacks), [], None
        probe.reset()
        return probe

    @contextmanager
    def _unchanged(self, model: LightningModule) -> Iterator[None]:
        weights = copy.deepcopy(model.state_dict())
        attached = model._trainer
        try:
            with rng.isolated(self._trainer.strategy.device):
                yield
        finally:
            model.load_state_dict(weights)
            model.trainer = attached


def largest(fits: Any, first: int, trials: int, limit: int, halve: bool) -> int:
    """The largest size found for which ``fits(size)`` holds. Raises ``MisconfigurationError`` where not even 1 does."""
    good, bad, size = 0, limit + 1, min(first, limit)
    for _ in range(trials):
        if fits(size):
            good = size
        else:
            bad = size
        if bad - good <= 1 or (good and bad <= limit and not halve):
            break
        size = min(good * 2, limit) if good and bad > limit else (good + bad) // 2
    if not good:
        raise MisconfigurationError(f"no batch fits into memory: {bad} is the smallest size that was tried")
    return good


def _rate_name(model: LightningModule, given: str) -> str:
    names = (given,) if given else RATE_NAMES
    for name in names:
        if hasattr(model, name) or name in model.hparams:
            return name
    wanted = " or ".join(f"model.{name}" for name in names)
    raise MisconfigurationError(f"lr_find() sets {wanted}, which does not exist: give attr_name, or update_attr=False")


def _holders(model: LightningModule, data: Any, name: str) -> list[tuple[Any, bool]]:
    """What has the attribute, and whether it is a dict."""
    found: list[tuple[Any, bool]] = []
    for owner in (model, data):
        if owner is None:
            continue
        if hasattr(owner, name):
            found.append((owner, False))
        if name in owner.hparams:
            found.append((owner.hparams, True))
    return found


def _get(model: LightningModule, data: Any, name: str) -> Any:
    holders = _holders(model, data, name)
    if not holders:
        raise MisconfigurationError(f"neither the module nor the data module has {name!r}: name it with batch_arg_name")
    owner, is_dict = holders[0]
    return owner[name] if is_dict else getattr(owner, name)


def _set(model: LightningModule, data: Any, name: str, value: Any) -> None:
    for owner, is_dict in _holders(model, data, name):
        if is_dict:
            owner[name] = value
        else:
            setattr(owner, name, value)
