"""``Tuner``: short runs of a Trainer that leave the module, the Trainer and the generators as they were."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from leyden import rng
from leyden.callbacks.base import Callback
from leyden.data import LightningDataModule
from leyden.errors import MisconfigurationError, bad_value, one_of
from leyden.loggers import DummyLogger
from leyden.profilers.base import PassThroughProfiler
from leyden.tuner.lr_finder import LRFinder, RateSweep

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

RATE_NAMES = ("lr", "learning_rate")
MODES = ("power", "binsearch")
METHODS = ("fit", "validate", "test", "predict")
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
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
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
        if method != "fit" or dataloaders is not None:
            raise bad_value("method", method, "'fit', with train_dataloaders: only training has a learning rate")

        def run(probe: Trainer) -> None:
            probe.settings = replace(probe.settings, max_epochs=self._trainer.max_epochs)
            probe.fit(model, train_dataloaders, datamodule=datamodule)

        name = rate_name(model, attr_name) if update_attr else ""
        finder = LRFinder(mode, min_lr, max_lr, num_training)
        return find_rate(self._trainer, model, finder, early_stop_threshold, name, run)

    def scale_batch_size(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """The largest batch size that fits into memory, by doubling from ``init_val`` up to the first that no epoch has
        more samples than; with ``mode="binsearch"`` then by halving the interval, less ``margin``. It is set as
        ``batch_arg_name`` of the module, its hyperparameters or the data module, whose loaders must use it.
        ``method``: which of the Trainer's methods has to fit. ``None`` under ``fast_dev_run``.
        """
        if method not in METHODS:
            raise one_of("method", method, METHODS)
        given = train_dataloaders if train_dataloaders is not None else dataloaders
        if datamodule is None and isinstance(given, LightningDataModule):
            given, datamodule = None, given
        if given is not None:
            raise bad_value("train_dataloaders", type(given).__qualname__, "left out: loaders are made anew")

        def run(probe: Trainer) -> None:
            if method == "validate":  # which a fit is to leave out
                probe.settings = replace(probe.settings, limit_val_batches=steps_per_trial)
            getattr(probe, method)(model, datamodule=datamodule)

        search = SizeSearch(mode, steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val)
        return find_size(self._trainer, model, datamodule, search, run)


def find_rate(
    trainer: Trainer,
    model: LightningModule,
    finder: LRFinder,
    threshold: float | None,
    name: str,
    run: Callable[[Trainer], None],
) -> LRFinder | None:
    """Let ``run`` train with a Trainer that sweeps the rate, and set the suggestion as ``name`` if there is one."""
    if trainer.settings.fast_dev_run:
        return None
    with _unchanged(trainer, model):
        run(_probe(trainer, finder.num_training, RateSweep(finder, threshold)))
    if name and (suggested := finder.suggestion()) is not None:
        _set(model, None, name, suggested)
    return finder


@dataclass(frozen=True)
class SizeSearch:
    """How a batch size is searched for; see :meth:`Tuner.scale_batch_size`."""

    mode: str
    steps_per_trial: int
    init_val: int
    max_trials: int
    batch_arg_name: str
    margin: float
    max_val: int

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise one_of("mode", self.mode, MODES)
        if not 0 <= self.margin < 1:
            raise bad_value("margin", self.margin, "a share from 0.0 to below 1.0")


def find_size(
    trainer: Trainer, model: LightningModule, data: Any, search: SizeSearch, run: Callable[[Trainer], None]
) -> int | None:
    """Let ``run`` try batch sizes with short runs, and set the largest that fits."""
    if trainer.settings.fast_dev_run:
        return None
    name = search.batch_arg_name
    before = _get(model, data, name)
    samples = math.inf

    def fits(size: int) -> bool:
        nonlocal samples
        _set(model, data, name, size)
        probe = _probe(trainer, search.steps_per_trial)
        fitted = _fits(lambda: run(probe))
        samples = _samples(probe)
        return fitted

    halve = search.mode == "binsearch"
    try:
        with _unchanged(trainer, model):
            limits = (search.max_trials, search.max_val)
            found = largest(fits, lambda size: size >= samples, search.init_val, *limits, halve)
    except BaseException:
        _set(model, data, name, before)
        raise
    if halve:
        found = max(1, int(found * (1 - search.margin)))
    _set(model, data, name, found)
    return found


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that a batch is too large."""
    return isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)


def _fits(run: Callable[[], None]) -> bool:
    try:
        run()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return False
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def _samples(probe: Trainer) -> float:
    """Samples in an epoch of what a Trainer has run on; infinite where that is not known."""
    loops = (probe.validate_loop, probe.test_loop, probe.predict_loop)
    sources = [source for loop in loops if loop is not None for source in loop.load()]
    sources += [probe.training_source] if probe.training_source is not None else []
    return max((source.samples for source in sources if source.samples is not None), default=math.inf)


def _probe(trainer: Trainer, steps: int, *callbacks: Callback) -> Trainer:
    """A Trainer like ours that runs a few steps and nothing else."""
    probe = copy.copy(trainer)
    only = {"max_steps": steps, "max_epochs": -1, "min_epochs": 0, "min_steps": 0, "limit_val_batches": 0}
    limits = {"limit_test_batches": steps, "limit_predict_batches": steps}
    probe.settings = replace(trainer.settings, **only, **limits)  # type: ignore[arg-type]  # all of them are integers
    probe.callbacks, probe.profiler = list(callbacks), PassThroughProfiler()
    probe.loggers = [DummyLogger()] if trainer.loggers else []
    probe.reset()
    return probe


@contextmanager
def _unchanged(trainer: Trainer, model: LightningModule) -> Iterator[None]:
    weights = copy.deepcopy(model.state_dict())
    attached = model._trainer
    try:
        with rng.isolated(trainer.strategy.device):
            yield
    finally:
        trainer.strategy.load_model_state(model, weights, strict=True)
        model.trainer = attached


def largest(
    fits: Callable[[int], bool], enough: Callable[[int], bool], first: int, trials: int, limit: int, halve: bool
) -> int:
    """The largest size found for which ``fits(size)`` holds, as far as it is not ``enough(size)`` before.

    Raises ``MisconfigurationError`` where not even 1 does.
    """
    good, bad, size = 0, limit + 1, min(first, limit)
    for _ in range(trials):
        if fits(size):
            good = size
        else:
            bad = size
        if bad - good <= 1 or (good and bad <= limit and not halve) or (good and enough(good)):
            break
        size = min(good * 2, limit) if good and bad > limit else (good + bad) // 2
    if not good:
        raise MisconfigurationError(f"no batch fits into memory: {bad} is the smallest size that was tried")
    return good


def rate_name(model: LightningModule, given: str) -> str:
    """The attribute that holds the learning rate. Raises ``MisconfigurationError`` where there is none."""
    names = (given,) if given else RATE_NAMES
    for name in names:
        if _holders(model, None, name):
            return name
    wanted = " or ".join(f"model.{name}" for name in names)
    raise MisconfigurationError(f"lr_find() sets {wanted}, which does not exist: give attr_name, or update_attr=False")


def _holders(model: LightningModule, data: Any, name: str) -> list[Any]:
    """What has the attribute: the module, the data module, the hyperparameters of each."""
    owners = [owner for owner in (model, data) if owner is not None]
    return [holder for owner in owners for holder in (owner, owner.hparams) if hasattr(holder, name)]


def _get(model: LightningModule, data: Any, name: str) -> Any:
    holders = _holders(model, data, name)
    if not holders:
        raise MisconfigurationError(f"neither the module nor the data module has {name!r}: name it with batch_arg_name")
    return getattr(holders[0], name)


def _set(model: LightningModule, data: Any, name: str, value: Any) -> None:
    for holder in _holders(model, data, name):
        setattr(holder, name, value)
