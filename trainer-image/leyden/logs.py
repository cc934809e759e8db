"""What ``self.log`` keeps: the last value of a step, running sums of an epoch, and their reduction over ranks.

Sums stay on the device of the values, so logging forces no synchronisation. At an epoch's end every rank contributes
``(reduction, total, weight)`` per name and all ranks compute the same value from all contributions; a rank that had no
batch contributes nothing, and uneven batches do not skew a mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.errors import MisconfigurationError, bad_value
from leyden.reductions import Contribution, Entry, extreme, merge

if TYPE_CHECKING:
    from leyden.strategies import Strategy

Number = float | int
STEP_HOOKS = frozenset(
    (
        "backward",
        "optimizer_zero_grad",
        "training_step",
        "on_train_batch_start",
        "on_train_batch_end",
        "on_before_zero_grad",
        "on_before_backward",
        "on_after_backward",
        "on_before_optimizer_step",
        "optimizer_step",
        "configure_gradient_clipping",
    )
)
"""Where ``log`` means the step by default; everywhere else it means the epoch."""

BATCH_HOOKS = STEP_HOOKS | {
    *(f"{stage}_step" for stage in ("validation", "test")),
    *(f"on_{stage}_batch_{moment}" for stage in ("validation", "test") for moment in ("start", "end")),
}

SILENT_HOOKS = frozenset(
    (
        "",
        "on_fit_start",
        "on_fit_end",
        "on_train_end",
        "on_validation_end",
        "on_test_end",
        "predict_step",
        *(f"on_predict_{rest}" for rest in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")),
    )
)
"""Where there is no epoch that a value could belong to."""


@dataclass(slots=True)
class Scope:
    """Where in the run the user's code is called from."""

    hook: str = ""
    batch: Any = None
    batch_size: int | None = None
    dataloader_idx: int | None = None
    """Set only where the stage has several loaders."""

    def enter_batch(self, batch: Any, dataloader_idx: int | None = None) -> None:
        self.batch = batch
        self.batch_size = None
        self.dataloader_idx = dataloader_idx

    def leave_batch(self) -> None:
        self.batch = None
        self.dataloader_idx = None

    def size(self) -> int:
        """Number of samples in the batch at hand: the first dimension of its first tensor; 1 where there is none."""
        if self.batch_size is None:
            self.batch_size = first_dimension(self.batch) or 1
        return self.batch_size


def first_dimension(batch: Any) -> int | None:
    """The first dimension of the first tensor (or the length of the first text) in a nested batch."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    if isinstance(batch, str):
        return len(batch)
    parts: Iterable[Any] = ()
    if isinstance(batch, dict):
        parts = batch.values()
    elif isinstance(batch, (list, tuple)):
        parts = batch
    return next((size for size in map(first_dimension, parts) if size is not None), None)


@dataclass(slots=True)
class Logs:
    """The entries of one run of one stage (an epoch of training, or one pass over the validation loaders)."""

    scope: Scope
    strategy: Strategy
    training: bool = False
    """Whether callbacks see the values of single steps."""
    entries: dict[tuple[str, str, int | None], Entry] = field(default_factory=dict)

    def record(
        self, name: str, value: Any, options: tuple[Any, ...], batch_size: int | None, add_dataloader_idx: bool
    ) -> None:
        """Keep one ``log`` call; see :meth:`leyden.LightningModule.log`."""
        scope = self.scope
        key = (scope.hook, name, scope.dataloader_idx)
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = self._new_entry(name, options, add_dataloader_idx)
        elif entry.options != options:
            raise MisconfigurationError(f"log({name!r}) was called twice in {scope.hook} with different options")
        if entry.rank_zero_only and self.strategy.global_rank:
            return
        if isinstance(value, Tensor):
            if value.dim():
                value = _single(name, value)
            if not value.is_floating_point():
                value = value.float()
            value = value.clone() if entry.keep_graph else value.detach().clone()
        elif isinstance(value, (float, int)):
            value = float(value)
        else:
            self._record_object(entry, value)
            return
        if entry.on_step:
            entry.value = self.strategy.reduce_number(value, entry.reduce) if entry.sync else value
        if entry.on_epoch:
            weight = 1 if entry.reduce != "mean" else batch_size or (scope.size() if scope.batch is not None else 1)
            entry.add(value.detach() if entry.keep_graph and isinstance(value, Tensor) else value, weight)

    def _record_object(self, entry: Entry, value: Any) -> None:
        """A metric object is asked at the epoch's end; numbers of other kinds are converted."""
        if hasattr(value, "compute") and hasattr(value, "reset"):
            if entry.metric is not None and entry.metric is not value:
                raise MisconfigurationError(
                    f"log({entry.name!r}) was given another {type(value).__qualname__} than before in this epoch: keep "
                    "one as an attribute of the module"
                )
            entry.metric = value
            if entry.on_step:
                entry.value = getattr(value, "last", getattr(value, "_forward_cache", None))
            return
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise bad_value(
                f"log({entry.name!r}) value", value, "a number, a tensor of one element or a metric"
            ) from None
        entry.value = number
        if entry.on_epoch:
            entry.add(number, 1)

    def _new_entry(self, name: str, options: tuple[Any, ...], add_dataloader_idx: bool) -> Entry:
        prog_bar, logger, on_step, on_epoch, reduce, keep_graph, sync, rank_zero_only = options
        hook = self.scope.hook
        if not isinstance(name, str) or "/dataloader_idx_" in name:
            raise bad_value("log() name", name, "a text without '/dataloader_idx_', which is added by itself")
        if hook in SILENT_HOOKS:
            raise MisconfigurationError(f"log({name!r}) is not possible in {hook or 'this place'}: no epoch is running")
        by_step = hook in STEP_HOOKS
        if on_step and hook not in BATCH_HOOKS:
            raise MisconfigurationError(f"log({name!r}, on_step=True) is not possible in {hook}: it has no step")
        on_step = by_step if on_step is None else on_step
        on_epoch = not by_step if on_epoch is None else on_epoch
        if not on_step and not on_epoch:
            raise MisconfigurationError(f"log({name!r}) with on_step=False and on_epoch=False logs nothing: set one")
        index = self.scope.dataloader_idx
        suffix = f"/dataloader_idx_{index}" if index is not None and add_dataloader_idx else ""
        named = (name, suffix, options, on_step, on_epoch, prog_bar, logger is not False)
        return Entry(*named, reduce, sync, keep_graph, rank_zero_only)

    def step_values(self, dataloader_idx: int | None = None) -> dict[str, Any]:
        """Last values for loggers, by their names; those of one loader where there are several."""
        return {
            entry.step_name: entry.value
            for (_, _, index), entry in self.entries.items()
            if entry.on_step and entry.logger and entry.value is not None and index == dataloader_idx
        }

    def latest(self) -> dict[str, Any]:
        """Last values for callbacks: under their names, and under the bare name where step and epoch are logged."""
        found: dict[str, Any] = {}
        for entry in self.entries.values() if self.training else ():
            if entry.on_step and entry.value is not None:
                found[entry.full_name] = found[entry.step_name] = entry.value
        return found

    def progress_bar_names(self) -> set[str]:
        """Names that were logged with ``prog_bar=True``."""
        shown = [entry for entry in self.entries.values() if entry.prog_bar]
        return {e.step_name for e in shown if e.on_step} | {e.epoch_name for e in shown if e.on_epoch}

    def finish_epoch(self) -> tuple[dict[str, float], dict[str, float]]:
        """The epoch's values over all ranks: for callbacks and for loggers. Clears everything."""
        callbacks: dict[str, float] = {}
        loggers: dict[str, float] = {}
        for name, (value, bare, logger) in self._reduced().items():
            callbacks[name] = callbacks[bare] = value
            if logger:
                loggers[name] = value
        for entry in self.entries.values():
            entry.reset()
        return callbacks, loggers

    def _reduced(self) -> dict[str, tuple[float, str, bool]]:
        """By the name of the epoch's value: the value, its bare name, and whether loggers get it.

        Also on a rank that logged nothing, because callbacks must decide alike everywhere.
        """
        shared: dict[str, tuple[Contribution, str, bool]] = {}
        values: dict[str, tuple[float, str, bool]] = {}
        for entry in self.entries.values():
            if not entry.on_epoch:
                continue
            part = entry.contribution()
            if part is None:
                if entry.metric is not None:
                    values[entry.epoch_name] = (float(entry.metric.compute()), entry.full_name, entry.logger)
            elif entry.sync is False:
                values[entry.epoch_name] = (merge([part]), entry.full_name, entry.logger)
            else:
                shared[entry.epoch_name] = (part, entry.full_name, entry.logger)
        everyone = self.strategy.gather_objects(shared)
        for name in {name: None for given in everyone for name in given}:
            given = [given[name] for given in everyone if name in given]
            values[name] = (merge([part for part, _, _ in given]), *given[0][1:])
        return values

    def state_dict(self) -> dict[str, Any]:
        """Running sums, so that a run resumed in mid-epoch ends it with the same values."""
        return {
            "\0".join((hook, name, "" if index is None else str(index))): {
                "options": list(entry.options),
                "suffix": entry.suffix,
                "total": entry.total.cpu() if isinstance(entry.total, Tensor) else entry.total,
                "weight": entry.weight,
            }
            for (hook, name, index), entry in self.entries.items()
            if entry.on_epoch and entry.total is not None
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Take back :meth:`state_dict`."""
        outer = self.scope.hook
        for key, kept in state.items():
            hook, name, index = key.split("\0")
            self.scope.hook = hook
            entry = self._new_entry(name, tuple(kept["options"]), add_dataloader_idx=False)
            entry.suffix = kept["suffix"]
            total = kept["total"]
            entry.total = total.to(device) if isinstance(total, Tensor) else total
            entry.weight = kept["weight"]
            self.entries[(hook, name, int(index) if index else None)] = entry
        self.scope.hook = outer


def members(dictionary: Any) -> Iterable[tuple[str, Any]]:
    """What ``log_dict`` logs. Of a MetricCollection the metrics themselves, and not copies of them."""
    if hasattr(dictionary, "compute_groups"):
        own: Iterable[tuple[str, Any]] = dictionary.items(keep_base=False, copy_state=False)
        return own
    if not isinstance(dictionary, Mapping):
        raise bad_value("log_dict()", type(dictionary).__qualname__, "a dict or a MetricCollection")
    return dictionary.items()


class SilentLogs(Logs):
    """Takes nothing, for runs that measure what remains without it."""

    def record(
        self, name: str, value: Any, options: tuple[Any, ...], batch_size: int | None, add_dataloader_idx: bool
    ) -> None:
        pass


def merge_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of several ranks as one rank's, for a run that goes on at another world size."""
    merged: dict[str, Any] = {}
    for state in states:
        for key, kept in state.items():
            if key not in merged:
                merged[key] = dict(kept)
                continue
            mine = merged[key]
            if kept["options"][4] in ("mean", "sum"):
                mine["total"] = mine["total"] + kept["total"]
                mine["weight"] += kept["weight"]
            else:
                mine["total"] = extreme(kept["options"][4], mine["total"], kept["total"])
    return merged


def _single(name: str, value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise bad_value(f"log({name!r}) value of shape", tuple(value.shape), "a tensor of one element")
    return value.reshape(())
