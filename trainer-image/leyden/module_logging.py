"""``self.log`` and ``self.log_dict`` of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from leyden.logs import members
from leyden.reductions import REDUCTIONS, reduction

if TYPE_CHECKING:
    from leyden.trainer import Trainer


class ModuleLogging:
    """What a module logs goes to the run's :class:`leyden.logs.Logs`; without a trainer it goes nowhere."""

    _trainer: Trainer | None

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool | None = None,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log a number, a tensor of one element, or a metric object, under ``name``.

        ``on_step`` logs the value itself, ``on_epoch`` the epoch's value by ``reduce_fx`` (mean weighted by batch
        size, sum, min, max; or torch's or Python's functions of these names); with both, the names end in ``_step`` and
        ``_epoch``. Defaults depend on the hook: steps of training log on step, everything else on epoch. The epoch's
        value covers all ranks unless ``sync_dist=False``; a step's value covers them only with ``sync_dist=True``. A
        metric object, be it Leyden's or of torchmetrics, is computed and reset when the epoch ends; keep it as an
        attribute of the module, whose name ``metric_attribute`` need not say.
        """
        if self._trainer is None:
            return
        reduce = reduce_fx if reduce_fx in REDUCTIONS else reduction(name, reduce_fx)
        options = (prog_bar, logger, on_step, on_epoch, reduce, enable_graph, sync_dist, rank_zero_only)
        self._trainer.logs.record(name, value, options, batch_size, add_dataloader_idx)

    def log_dict(
        self,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool | None = None,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """:meth:`log` for each entry of a dict or of a torchmetrics ``MetricCollection``."""
        options: dict[str, Any] = {
            "prog_bar": prog_bar,
            "logger": logger,
            "on_step": on_step,
            "on_epoch": on_epoch,
            "reduce_fx": reduce_fx,
            "enable_graph": enable_graph,
            "sync_dist": sync_dist,
            "sync_dist_group": sync_dist_group,
            "add_dataloader_idx": add_dataloader_idx,
            "batch_size": batch_size,
            "rank_zero_only": rank_zero_only,
        }
        for name, value in members(dictionary):
            self.log(name, value, **options)
