"""The loops without gradients: validation, test and prediction."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from leyden import nested
from leyden.combined import for_evaluation
from leyden.errors import MisconfigurationError
from leyden.hooks import overrides, within
from leyden.loaders import Source
from leyden.states import RunningStage

if TYPE_CHECKING:
    from leyden.reductions import Reduced
    from leyden.trainer import Trainer


@dataclass(frozen=True)
class Stage:
    """Names of a stage in hooks, methods and settings."""

    name: str
    step: str
    short: str
    running: RunningStage


VALIDATION = Stage("validation", "validation_step", "val", RunningStage.VALIDATING)
TEST = Stage("test", "test_step", "test", RunningStage.TESTING)
PREDICT = Stage("predict", "predict_step", "predict", RunningStage.PREDICTING)


class EvaluationLoop:
    """One pass over the loaders of a stage, each sample exactly once over all ranks."""

    def __init__(self, trainer: Trainer, stage: Stage, loader: Callable[[], Any] | None):
        self.trainer = trainer
        self.loader = loader
        self._sources: list[Source] = []
        self._loaded_epoch: int | None = None
        self.loaders: Any = None
        """As the user gave them."""
        self.batches_seen: dict[int, int] = {}
        """By loader, over all passes: the axis of what is logged on steps."""
        self.batches: list[float] = []
        """Batches of a pass, by loader; infinite where unknown."""
        self._outputs: list[list[Any]] = []
        self.epoch_batch_indices: list[list[list[int]]] = []
        """Samples of each batch that is kept, by loader, where the loader is Leyden's to know."""
        self.current_batch_indices: list[int] = []
        self.has_run = False
        """Whether a pass is behind us; a sanity check is none."""
        self.module = trainer.lightning_module
        self.stage = stage

    def _bind(self) -> None:
        """Look up what a pass calls, so that a batch costs little beside it."""
        step: Callable[..., Any] = getattr(self.module, self.stage.step)
        self._by_name = "dataloader_idx" in inspect.signature(step).parameters
        self.step = bind_step(self.trainer, self.stage.step, step)

    def _hook(self, moment: str) -> Callable[..., Any]:
        """The stage's hook of a moment, as ``epoch_start``."""
        hook: Callable[..., Any] = getattr(self.trainer.hooks, f"on_{self.stage.name}_{moment}")
        return hook

    @property
    def limit(self) -> int | float:
        """Batches to take of each loader, or the part of them."""
        limit: int | float = getattr(self.trainer.settings, f"limit_{self.stage.short}_batches")
        return limit

    @property
    def _data_source(self) -> Any:
        # Private in Lightning too, where libraries ask it in `configure_optimizers`: GluonTS does.
        return SimpleNamespace(instance=self.loader, is_defined=lambda: self.loader is not None)

    @property
    def enabled(self) -> bool:
        """Whether there is anything to run."""
        return self.loader is not None and self.limit != 0 and overrides(self.module, self.stage.step)

    @property
    def predictions(self) -> list[Any]:
        """What the steps gave, as far as it is kept: a list by batch, or by loader of such where there are several."""
        return self._outputs[0] if len(self._outputs) == 1 else self._outputs

    def load(self) -> list[Source]:
        """The loaders, prepared when first asked for, and anew where the settings say so."""
        trainer, loaded = self.trainer, self._loaded_epoch
        due = loaded is None or (trainer.loaders_are_due(loaded) and not trainer.sanity_checking)
        if due and self.loader is not None and self.limit != 0:
            self.loaders = self.loader()
            # Every sample counts once, unless all ranks must take as many steps.
            prepare = trainer.preparing(pad=trainer.strategy.forward_is_collective)
            self._sources = for_evaluation(self.loaders, prepare)
            for source in self._sources if self.stage is PREDICT else ():
                source.take_all()
            self._loaded_epoch = trainer.current_epoch
            self.batches = [
                source.batch_limit(self.limit, f"limit_{self.stage.short}_batches") for source in self._sources
            ]
            for name in (self.stage.step, *(f"on_{self.stage.name}_batch_{moment}" for moment in ("start", "end"))):
                self._check_dataloader_idx(name)
        return self._sources

    def _check_dataloader_idx(self, name: str) -> None:
        """Whether a method of the module takes the loader's number, which it gets where there are several."""
        parameters = inspect.signature(getattr(self.module, name)).parameters
        taken, number = parameters.get("dataloader_idx"), len(self._sources)
        if number > 1 and taken is None and all(p.kind is not p.VAR_POSITIONAL for p in parameters.values()):
            raise MisconfigurationError(
                f"{type(self.module).__qualname__}.{name}() needs an argument dataloader_idx, for there are {number} "
                "loaders: write dataloader_idx=0"
            )
        if number == 1 and taken is not None and taken.default is taken.empty:
            raise MisconfigurationError(
                f"{type(self.module).__qualname__}.{name}() asks for dataloader_idx, but there is one loader alone: "
                "write dataloader_idx=0"
            )

    def run(
        self, keep_outputs: bool = False, step: int | None = None, most: float = math.inf
    ) -> tuple[list[dict[str, float]], list[Any]]:
        """Run over all loaders. Returns the metrics by loader and :attr:`predictions`, which it then lets go.

        ``step``: where loggers put the metrics; behind the steps that were taken where it is not given. ``most``:
        batches of a loader.
        """
        trainer, sources = self.trainer, self.load()
        if not trainer.strategy.reduce_boolean_decision(any(self.batches), all=False):  # a rank may well have none
            return [], []
        self._bind()
        opened = self._open(0)  # ahead of the hooks, since a loader draws a random number when it is opened
        trainer.keep_latest()
        logs = trainer.logs = trainer.new_logs()
        state = trainer.state
        outer, state.stage = state.stage, state.stage if trainer.sanity_checking else self.stage.running
        with self._evaluating():
            self._hook("start")()
            self._hook("epoch_start")()
            trainer.strategy.share_buffers(self.module)
            self._outputs = [[] for _ in sources]
            self.epoch_batch_indices = [[] for _ in sources]
            for index in range(len(sources)):
                batches = self._open(index) if index else opened
                limit = min(self.batches[index], most)
                self._run_loader(index, batches, limit, self._outputs[index] if keep_outputs else None)
            trainer.close_batches()
            self._hook("epoch_end")()
            metrics = trainer.take_epoch_metrics(logs, trainer.run_state.batches_stepped if step is None else step)
            if trainer.run_state.rest:
                trainer.run_state.rest = "but_validation"
            self._hook("end")()
        self.has_run = not trainer.sanity_checking
        state.stage = outer
        found, self._outputs, self.epoch_batch_indices = self.predictions, [], []
        return self._by_loader(metrics), found

    def _open(self, index: int) -> Iterator[Any]:
        """A loader's batches."""
        source = self._sources[index]
        source.start_epoch(self.trainer.run_state.epoch)
        if self.stage is PREDICT:
            source.watch_indices()
        return source.open() if self.batches[index] else iter(())

    def _run_loader(self, index: int, batches: Iterator[Any], limit: float, kept: list[Any] | None) -> None:
        source, several = self._sources[index], len(self._sources) > 1
        which = (index,) if several else ()
        scope, on_start, on_end = self.trainer.scope, self._hook("batch_start"), self._hook("batch_end")
        for batch_idx, raw in enumerate(batches):
            batch = self.trainer.transfer(raw, index)
            scope.enter_batch(batch, index if several else None)
            on_start(batch, batch_idx, *which)
            output = self._run_step(batch, batch_idx, index)
            if kept is not None:
                kept.append(nested.move(output, "cpu"))
            if self.stage is PREDICT:
                self.current_batch_indices = source.next_indices()
                if kept is not None:
                    self.epoch_batch_indices[index].append(self.current_batch_indices)
            on_end(output, batch, batch_idx, *which)
            output = None  # it may be large, and the next is computed before this name takes it
            scope.leave_batch()
            self._log_step(index, several)
            self.trainer.tick()
            if batch_idx + 1 >= limit:  # before the loader fetches a batch that nobody wants
                break

    def _log_step(self, index: int, several: bool) -> None:
        """What is logged on steps goes to the loggers over the batches that this loop has seen of the loader."""
        trainer = self.trainer
        if not trainer.loggers or trainer.sanity_checking:
            return
        seen = self.batches_seen.get(index, 0)
        self.batches_seen[index] = seen + 1
        if values := trainer.logs.step_values(index if several else None):
            trainer.log_everywhere({name: float(value) for name, value in values.items()}, seen)

    def _run_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        if len(self._sources) == 1:
            return self.step(batch, batch_idx)
        if self._by_name:
            return self.step(batch, batch_idx, dataloader_idx=dataloader_idx)
        return self.step(batch, batch_idx, dataloader_idx)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; afterwards every submodule has the mode it had."""
        module, trainer = self.module, self.trainer
        modes = {part: part.training for part in module.modules()}
        self._hook("model_eval")()
        # Tensors made in inference mode could not be trained on later, and gathered parameters are kept.
        inference = (
            trainer.settings.inference_mode and not trainer.fitting and not trainer.strategy.forward_is_collective
        )
        try:
            with torch.inference_mode() if inference else torch.no_grad():
                yield
        finally:
            if overrides(module, f"on_{self.stage.name}_model_train"):
                self._hook("model_train")()
            else:
                for part, mode in modes.items():
                    part.training = mode

    def _by_loader(self, metrics: list[Reduced]) -> list[dict[str, float]]:
        """What was logged for loggers, by the loader that it was logged of; what is of none belongs to each."""
        return [
            {one.name: one.value for one in metrics if one.logger and one.dataloader_idx in (None, index)}
            for index in range(len(self._sources))
        ]


def bind_step(trainer: Trainer, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """The module's step ``name``, which ``run`` runs, as a loop calls it: ``(batch, batch_idx)`` whatever of it the
    step takes, seen by ``log`` and the profiler, in its precision's context. Asked once per run: a batch
    pays nothing."""
    module, precision = trainer.lightning_module, trainer.precision_plugin
    run = trainer.profiler.profiled(f"[LightningModule]{type(module).__qualname__}.{name}", run)
    signature = inspect.signature(getattr(module, name))
    parameters = [p for other, p in signature.parameters.items() if other != "dataloader_idx"]
    takes_index = len(parameters) > 1 or any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    takes_both = run if takes_index else lambda batch, batch_idx, **named: run(batch, **named)
    step = within(name, takes_both, trainer.scope)
    if not precision.has_context:
        return step

    def step_in_context(*args: Any, **named: Any) -> Any:
        with precision.context():
            return step(*args, **named)

    return step_in_context
