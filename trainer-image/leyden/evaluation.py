"""The loops without gradients: validation, test and prediction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from leyden.hooks import overrides
from leyden.loaders import Source
from leyden.logs import Logs

if TYPE_CHECKING:
    from leyden.trainer import Trainer


@dataclass(frozen=True)
class Stage:
    """Names of a stage in hooks, methods and settings."""

    name: str
    step: str
    short: str


VALIDATION = Stage("validation", "validation_step", "val")
TEST = Stage("test", "test_step", "test")
PREDICT = Stage("predict", "predict_step", "predict")


class EvaluationLoop:
    """One pass over the loaders of a stage, each sample exactly once over all ranks."""

    def __init__(self, trainer: Trainer, stage: Stage, sources: list[Source]):
        self.trainer = trainer
        self.module = trainer.lightning_module
        self.stage = stage
        self.sources = sources
        self.limit = getattr(trainer.settings, f"limit_{stage.short}_batches")
        self.step: Callable[..., Any] = getattr(self.module, stage.step)
        self.takes_batch_idx = takes_batch_idx(self.step)
        self.takes_dataloader_idx = "dataloader_idx" in inspect.signature(self.step).parameters
        self.sanity_batches: int | None = None
        hooks = trainer.hooks
        self.on_start, self.on_end = (getattr(hooks, f"on_{stage.name}_{moment}") for moment in ("start", "end"))
        self.on_epoch_start, self.on_epoch_end = (
            getattr(hooks, f"on_{stage.name}_epoch_{moment}") for moment in ("start", "end")
        )
        self.on_batch_start, self.on_batch_end = (
            getattr(hooks, f"on_{stage.name}_batch_{moment}") for moment in ("start", "end")
        )

    @property
    def enabled(self) -> bool:
        """Whether there is anything to run."""
        if not self.sources or self.limit == 0:
            return False
        return overrides(self.module, self.stage.step)

    def run(self, keep_outputs: bool = False) -> tuple[list[dict[str, float]], list[list[Any]]]:
        """Run over all loaders. Returns the metrics by loader and, if kept, the steps' outputs by loader."""
        trainer = self.trainer
        logs = trainer.logs = Logs(trainer.scope, trainer.strategy)
        with _evaluating(self.module, trainer, self.stage):
            self.on_start()
            self.on_epoch_start()
            outputs = [self._run_loader(index, source, keep_outputs) for index, source in enumerate(self.sources)]
            self.on_epoch_end()
            names = trainer.take_epoch_metrics(logs, step=trainer.run_state.batches_stepped)
            self.on_end()
        return self._by_loader(names), outputs

    def _run_loader(self, index: int, source: Source, keep_outputs: bool) -> list[Any]:
        several = len(self.sources) > 1
        source.start_epoch(self.trainer.run_state.epoch)
        limit = source.batch_limit(self.limit)
        if self.sanity_batches is not None:
            limit = min(limit, self.sanity_batches)
        outputs: list[Any] = []
        scope = self.trainer.scope
        for batch_idx, raw in enumerate(source.loader if limit else ()):
            if batch_idx >= limit:
                break
            batch = self.trainer.transfer(raw, index)
            scope.enter_batch(batch, index if several else None)
            self.on_batch_start(batch, batch_idx, index)
            output = self._run_step(batch, batch_idx, index)
            self.on_batch_end(output, batch, batch_idx, index)
            scope.leave_batch()
            self.trainer.tick()
            if keep_outputs:
                outputs.append(output)
            if batch_idx + 1 >= limit:  # before the loader fetches a batch that nobody wants
                break
        return outputs

    def _run_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        args = (batch, batch_idx) if self.takes_batch_idx else (batch,)
        named = {"dataloader_idx": dataloader_idx} if self.takes_dataloader_idx else {}
        scope = self.trainer.scope
        scope.hook = self.stage.step
        with self.trainer.precision_plugin.context():
            output = self.step(*args, **named)
        scope.hook = ""
        return output

    def _by_loader(self, values: dict[str, float]) -> list[dict[str, float]]:
        """Metrics split by the loader that their names end in; unmarked ones belong to each."""
        marks = [f"/dataloader_idx_{index}" for index in range(len(self.sources))]
        return [
            {
                name: value
                for name, value in values.items()
                if name.endswith(mark) or not any(name.endswith(other) for other in marks)
            }
            for mark in marks
        ]


def takes_batch_idx(step: Callable[..., Any]) -> bool:
    """Whether a step takes the batch's number beside the batch; asked once per run."""
    parameters = [p for name, p in inspect.signature(step).parameters.items() if name != "dataloader_idx"]
    return len(parameters) > 1 or any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)


@contextmanager
def _evaluating(module: Any, trainer: Trainer, stage: Stage) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every submodule has the mode it had."""
    modes = {part: part.training for part in module.modules()}
    to_eval = getattr(trainer.hooks, f"on_{stage.name}_model_eval")
    to_train = getattr(trainer.hooks, f"on_{stage.name}_model_train")
    if to_eval.calls:
        to_eval()
    else:
        module.eval()
    without_gradients = torch.inference_mode if trainer.settings.inference_mode else torch.no_grad
    try:
        with without_gradients():
            yield
    finally:
        if to_train.calls:
            to_train()
        else:
            for part, mode in modes.items():
                part.training = mode
