"""What a module consists of, printed before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leyden.callbacks.base import Callback
from leyden.errors import at_least

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer


class ModelSummary(Callback):
    """Prints :class:`leyden.summary.ModelSummary` down to ``max_depth`` (-1: all; 0: nothing) when ``fit`` begins.

    ``summarize_kwargs`` are Lightning's and have no effect.
    """

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        self.max_depth = at_least("max_depth", max_depth, -1)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.max_depth:
            from leyden.summary import summarize

            trainer.print(summarize(pl_module, self.max_depth), flush=True)


class RichModelSummary(ModelSummary):
    """:class:`ModelSummary` by Lightning's other name."""
