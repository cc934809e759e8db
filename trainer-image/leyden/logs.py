"""What ``self.log`` keeps: the last value of a step, running sums of an epoch, and their reduction over ranks.

Sums stay on the device of the values, so logging forces no synchronisation. At an epoch's end every rank contributes
``(reduction, total, weight)`` per name and all ranks compute the same value from all contributions; a rank that had no
batch contributes nothing, and uneven batches do not skew a mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden import nested
from leyden.errors import MisconfigurationError, bad_value
from leyden.reductions import Contribution, Entry, Metrics, Options, Reduced, extreme, merge

if TYPE_CHECKING:
    from leyden.strategies import Strategy

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


KEPT = (torch.float32, torch.float64)

Key = tuple[str, str, int | None]
"""The hook that logs, the name, and the loader's number where there are several."""


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
    """The first dimension of the first tensor or array in a nested batch; ``None`` where there is none."""
    if isinstance(batch, Tensor) or (hasattr(batch, "shape") and hasattr(batch, "__len__")):
        return len(batch) if len(batch.shape) else 1
    parts: Iterable[Any] = ()
    if isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, Iterable) and not isinstance(batch, (str, bytes)):
        parts = batch
    elif is_dataclass(batch):
        parts = (getattr(batch, part.name) for part in fields(batch))
    return next((size for size in map(first_dimension, parts) if size is not None), None)


@dataclass(slots=True)
class Logs:
    """The entries of one run of one stage (an epoch of training, or one pass over the validation loaders)."""

    scope: Scope
    strategy: Strategy
    training: bool = False
    """Whether callbacks see the values of single steps."""
    entries: dict[Key, Entry] = field(default_factory=dict)
    reduced: list[Reduced] | None = None
    """What the epoch's batches came to, once they are over."""

    def record(
        self, name: str, value: Any, asked: tuple[Any, ...], batch_size: int | None, add_dataloader_idx: bool
    ) -> None:
        """Keep one ``log`` call; see :meth:`leyden.LightningModule.log`."""
        scope = self.scope
        key = (scope.hook, name, scope.dataloader_idx)
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = self._new_entry(name, asked, add_dataloader_idx)
        elif entry.asked != asked and entry.options != _in_hook(scope.hook, name, asked):
            raise MisconfigurationError(f"log({name!r}) was called twice in {scope.hook} with different options")
        options = entry.options
        if options.rank_zero_only and self.strategy.global_rank:
            return
        if isinstance(value, Tensor):
            if value.dim():
                value = _single(name, value)
            if value.dtype not in KEPT:  # NumPy has no bfloat16, for one
                value = value.float()
            value = value.clone() if options.keep_graph else value.detach().clone()
        elif hasattr(value, "compute") and hasattr(value, "reset"):
            _take_metric(entry, value)
            return
        else:
            value = _number(name, value)
        if options.on_step:
            entry.value = self.strategy.reduce_number(value, options.reduce) if options.sync else value
            entry.is_new = True
        if options.on_epoch:
            mean = options.reduce == "mean"
            weight = (batch_size or (scope.size() if scope.batch is not None else 1)) if mean else 1
            entry.add(value.detach() if options.keep_graph and isinstance(value, Tensor) else value, weight)

    def _new_entry(self, name: str, asked: tuple[Any, ...], add_dataloader_idx: bool) -> Entry:
        if not isinstance(name, str) or (add_dataloader_idx and "/dataloader_idx_" in name):
            raise bad_value("log() name", name, "a text without '/dataloader_idx_', which is added by itself")
        index = self.scope.dataloader_idx
        suffix = f"/dataloader_idx_{index}" if index is not None and add_dataloader_idx else ""
        return Entry(name, suffix, asked, _in_hook(self.scope.hook, name, asked))

    def step_values(self, dataloader_idx: int | None = None) -> dict[str, Any]:
        """Last values for loggers, by their names; those of one loader where there are several."""
        return {
            entry.step_name: entry.value
            for (_, _, index), entry in self.entries.items()
            if entry.options.on_step and entry.options.logger and entry.value is not None and index == dataloader_idx
        }

    def news(self) -> Metrics:
        """What has come since it was asked: values of the last step, or those of the epoch once its batches are over.

        Callbacks have the values of steps under the bare names too, and of training alone.
        """
        found = Metrics({}, {}, {})
        for entry in self.entries.values() if self.reduced is None else ():
            options = entry.options
            if entry.is_new and entry.value is not None:
                entry.is_new = False  # a validation in between may give the same name another value
                names = (entry.full_name, entry.step_name) if self.training else ()
                found.add(entry.step_name, entry.value, options.logger, options.prog_bar, callback=names)
        for reduced in self.reduced or ():
            reduced.show(found)
        return found

    def close_batches(self) -> None:
        """Reduce over ranks what was logged so far, for hooks of the epoch's end. A collective call."""
        self.reduced = self._reduced()

    def finish_epoch(self) -> list[Reduced]:
        """The epoch's values, those among them that its last hooks have logged. A collective call. Clears all."""
        reduced = [*(self.reduced or ()), *self._reduced()]
        for entry in self.entries.values():
            entry.reset()
        self.reduced = None
        return reduced

    def _reduced(self) -> list[Reduced]:
        """What was logged since the last time, also on a rank that logged nothing: callbacks must decide alike.

        In the order of the ``log`` calls. A metric object whose ``compute`` gives ``None`` has nothing to tell.
        """
        shared: dict[Key, tuple[Contribution, Reduced]] = {}
        found: dict[Key, Reduced] = {}
        for key, entry in self.entries.items():
            options = entry.options
            if not options.on_epoch or entry.reduced:
                continue
            part = entry.contribution()
            entry.reduced = part is not None or entry.metric is not None
            one = Reduced(entry.epoch_name, entry.full_name, math.nan, key[2], options.logger, options.prog_bar)
            if part is not None:
                found[key] = one._replace(value=merge([part]))
                if options.sync is not False:
                    shared[key] = (part, one)
            elif entry.metric is not None and (computed := entry.metric.compute()) is not None:
                found[key] = one._replace(value=float(computed))
        everyone = self.strategy.gather_objects(shared)
        for key in {key: None for given in everyone for key in given}:
            parts, ones = zip(*(given[key] for given in everyone if key in given), strict=True)
            found[key] = ones[0]._replace(value=merge(parts))
        return list(found.values())

    def state_dict(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Last values and running sums, so that a run resumed in mid-epoch logs the same. Of metric objects, the places
        where ``metrics`` has them."""
        places = {id(metric): place for place, metric in metrics.items()}
        rows = ((key, entry, places.get(id(entry.metric))) for key, entry in self.entries.items())
        return {
            "\0".join((hook, name, "" if index is None else str(index))): {
                "options": list(entry.asked),
                "suffix": entry.suffix,
                "value": _on_cpu(entry.value),
                "total": _on_cpu(entry.total),
                "weight": entry.weight,
                "metric": place,
            }
            for (hook, name, index), entry, place in rows
            if entry.value is not None or entry.total is not None or place is not None
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device, metrics: dict[str, Any]) -> None:
        """Take back :meth:`state_dict`."""
        for key, kept in state.items():
            hook, name, index = key.split("\0")
            asked = tuple(kept["options"])
            entry = Entry(name, kept["suffix"], asked, _in_hook(hook, name, asked))
            entry.value, entry.total = nested.move((kept.get("value"), kept["total"]), device)
            entry.weight = kept["weight"]
            entry.metric = metrics.get(kept.get("metric"))
            self.entries[(hook, name, int(index) if index else None)] = entry


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

    def record(self, *args: Any, **kwargs: Any) -> None:
        pass


def merge_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of several ranks as one rank's, for a run that goes on at another world size."""
    merged: dict[str, Any] = {}
    for state in states:
        for key, kept in state.items():
            if key not in merged:
                merged[key] = dict(kept)
                continue
            mine, reduce = merged[key], Options(*kept["options"]).reduce
            if kept["total"] is None:  # a metric object, which holds its own
                continue
            if reduce in ("mean", "sum"):
                mine["total"] = mine["total"] + kept["total"]
                mine["weight"] += kept["weight"]
            else:
                mine["total"] = extreme(reduce, mine["total"], kept["total"])
    return merged


def _in_hook(hook: str, name: str, asked: tuple[Any, ...]) -> Options:
    """What the options of a ``log`` call mean in a hook. Raises ``MisconfigurationError`` where it is not possible."""
    options = Options(*asked)
    if hook in SILENT_HOOKS:
        raise MisconfigurationError(f"log({name!r}) is not possible in {hook or 'this place'}: no epoch is running")
    if options.on_step and hook not in BATCH_HOOKS:
        raise MisconfigurationError(f"log({name!r}, on_step=True) is not possible in {hook}: it has no step")
    by_step = hook in STEP_HOOKS
    on_step = by_step if options.on_step is None else options.on_step
    on_epoch = not by_step if options.on_epoch is None else options.on_epoch
    if not on_step and not on_epoch:
        raise MisconfigurationError(f"log({name!r}) with on_step=False and on_epoch=False logs nothing: set one")
    return options._replace(on_step=on_step, on_epoch=on_epoch, logger=options.logger is not False)


def _take_metric(entry: Entry, metric: Any) -> None:
    """A metric object is asked at the epoch's end."""
    if entry.metric is not None and entry.metric is not metric:
        raise MisconfigurationError(
            f"log({entry.name!r}) was given another {type(metric).__qualname__} than before in this epoch: keep "
            "one as an attribute of the module"
        )
    entry.metric = metric
    if entry.options.on_step:
        entry.value = getattr(metric, "last", getattr(metric, "_forward_cache", None))
        entry.is_new = True


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise bad_value(f"log({name!r}) value", value, "a number, a tensor of one element or a metric") from None


def _single(name: str, value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise bad_value(f"log({name!r}) value of shape", tuple(value.shape), "a tensor of one element")
    return value.reshape(())
