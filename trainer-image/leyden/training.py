"""The training loop: epochs, batches, and what is due between them. One can read it from top to bottom."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leyden import optim, rng
from leyden.boundaries import boundary
from leyden.checkpoint.signature import few_samples, likely_calls
from leyden.combined import END, for_training
from leyden.evaluation import EvaluationLoop, bind_step
from leyden.hooks import overrides, within
from leyden.loaders import Source
from leyden.metric_states import metrics_of
from leyden.outputs import as_outputs, loss_of
from leyden.states import RunningStage

if TYPE_CHECKING:
    from leyden.trainer import Trainer


class TrainingLoop:
    """One ``fit``. What is looked up once is bound here, so that a batch costs little beyond the user's code."""

    def __init__(self, trainer: Trainer, validation: EvaluationLoop):
        self.trainer = trainer
        self.module = trainer.lightning_module
        self.state = trainer.run_state
        self.hooks = trainer.hooks
        self.scope = trainer.scope
        self.source = load_training_source(trainer)
        self.loaded_epoch = trainer.resumed.get("loaded_epoch", trainer.current_epoch)
        self.validation = validation
        self.logs = trainer.new_logs(training=True)
        self.transfer = trainer.transfer
        self.validates = validation.enabled
        self._read_settings()
        self.has_agent = trainer.rank_directory is not None
        self.has_boundaries = trainer.world_size > 1 or self.has_agent or trainer.checkpoint_directory is not None
        self.stop_signal = trainer.stop_signal
        self.batches = math.inf
        """Batches of the running epoch; infinite where unknown."""
        self.lengths_differ = False
        """Whether a rank may run out of batches before the others do."""
        self.batch_idx, self.total_batch_idx = self.state.batch_idx - 1, self.state.batches - 1
        """The batch that runs or ran last: in its epoch, and of all."""
        self.resumed_at = 0
        self.gradients_wait = False
        """Whether gradients are on their way to a step, or by hand may be."""
        self.exhausted = False
        self._opened: Iterator[Any] | None = None
        """The first epoch's batches: a loader draws a random number when it is opened, and Lightning's do at once."""
        self._batch: Any = None
        self._output: Any = None
        self._window_starts = True
        profiled = trainer.profiler.profiled
        self.run_batch: Callable[[Any, bool], bool] = profiled("run_training_batch", self._run_batch)
        self.run_epoch: Callable[[], None] = profiled("run_training_epoch", self._run_epoch)
        self._validated_at = time.monotonic()

    def _read_settings(self) -> None:
        """What counts from an epoch's start on, of all that hooks may change."""
        trainer, settings = self.trainer, self.trainer.settings
        self.automatic = self.module.automatic_optimization
        self.optimizer, self.stepper = trainer.optimizers[0], trainer.lightning_optimizers[0]
        self.max_steps = math.inf if settings.max_steps == -1 else settings.max_steps
        self.clips = settings.gradient_clip_val is not None or any(
            overrides(self.module, name) for name in ("configure_gradient_clipping", "clip_gradients")
        )

    def _bind_steps(self) -> None:
        """Look up what a batch calls."""
        trainer = self.trainer
        self.training_step = bind_step(trainer, "training_step", trainer.strategy.wrap(self.module))
        self.optimizer_step = self._bind_optimizer_step()
        self.zero_grad = self._bind("optimizer_zero_grad")
        self.backward = self._bind_backward()
        self.clip = self._bind("configure_gradient_clipping")

    def _bind(self, name: str) -> Callable[..., Any]:
        """A method of the module. Where it is the user's own, it may log."""
        method: Callable[..., Any] = getattr(self.module, name)
        return within(name, method, self.scope) if overrides(self.module, name) else method

    def _bind_optimizer_step(self) -> Callable[..., None]:
        step = self._bind("optimizer_step")
        if "optimizer_idx" not in inspect.signature(self.module.optimizer_step).parameters:
            return step
        return lambda epoch, index, optimizer, closure: step(  # an override of Lightning 1.x's shape
            epoch, index, optimizer, optimizer_idx=0, optimizer_closure=closure
        )

    def _bind_backward(self) -> Callable[[Tensor], None]:
        backward, scaler = self._bind("backward"), self.trainer.precision_plugin.scaler
        return backward if scaler is None else lambda loss: backward(scaler.scale(loss))

    # Epochs.

    def run(self) -> None:
        """Train until the settings or a callback say stop; nothing happens where they say so before the first batch."""
        trainer = self.trainer
        if self._finished() or not trainer.num_training_batches:
            trainer.epoch_closed |= bool(self.state.batch_idx)
            self._restore_rng()
            return
        if not trainer.epoch_closed and not self.state.batch_idx:
            self._prepare_epoch()
            self._opened = self._open()
        if self.validates and trainer.epoch_validates:
            self.validation.load()
        trainer.logs = self.logs
        trainer.state.stage = RunningStage.TRAINING
        self.hooks.on_train_start()
        self.hooks.bind()
        self._bind_steps()
        if trainer.epoch_closed:
            self._place_source()
            self._restore_rng()
            trainer.resumed = {}
        while not self._finished():
            if trainer.epoch_closed:
                self.state.next_epoch()
                trainer.epoch_closed = False
            self.run_epoch()
            trainer.epoch_closed = True
        self.hooks.on_train_end()

    def _finished(self) -> bool:
        most = self.trainer.max_epochs
        return (most != -1 and self.trainer.current_epoch >= most) or self._is_cut_short()

    def _is_cut_short(self) -> bool:
        """The steps are taken, or a callback asked to stop and may."""
        return self.state.global_step >= self.max_steps or self._may_stop()

    def _may_stop(self) -> bool:
        """A callback asked to stop and the least length is reached."""
        trainer, settings = self.trainer, self.trainer.settings
        return (
            trainer.should_stop
            and trainer.current_epoch >= settings.min_epochs
            and trainer.global_step >= settings.min_steps
        )

    def _run_epoch(self) -> None:
        trainer, state = self.trainer, self.state
        trainer.logs = self.logs
        opened, self._opened = self._opened, None
        if opened is None:
            self._prepare_epoch()
        if not state.batch_idx:
            self.hooks.on_train_epoch_start()
        self._read_settings()
        self._run_batches(opened if opened is not None else self._open())
        self._close_epoch()

    def _prepare_epoch(self) -> None:
        """Which batches the epoch has, and how many of them are left."""
        state, trainer = self.state, self.trainer
        if trainer.loaders_are_due(self.loaded_epoch):
            trainer.training_source = None
            self.source, self.loaded_epoch = load_training_source(trainer), state.epoch
        self.resumed_at = state.batch_idx
        self.source.start_epoch(state.epoch)
        if state.batch_idx:
            self._place_source()
        left = self.source.batch_limit(None) + state.batch_idx
        limit = trainer.settings.limit_train_batches
        if limit is not None:
            left = min(limit, left) if isinstance(limit, int) else (left if math.isinf(left) else int(left * limit))
        self.batches = trainer.num_training_batches = self._of_all_ranks(left)

    def _place_source(self) -> None:
        """Let the training loader go on where the run stands."""
        resumed = self.trainer.resumed
        place = resumed.get("sampler") or {"batches": self.state.batch_idx}
        self.source.load_state_dict(place, resumed.get("loaders", []))

    def _open(self) -> Iterator[Any]:
        """The epoch's batches that are left. Hooks of an epoch's start, but of the first, come ahead of this."""
        trainer, state = self.trainer, self.state
        saved_ahead = state.epoch and not state.batch_idx
        if saved_ahead:
            self._restore_rng()
        iterator = trainer.profiler.profiled_iterator("[TrainingLoop].train_dataloader_next", self.source.open())
        if not saved_ahead:
            self._restore_rng()
        if state.batch_idx:
            self.logs.load_state_dict(trainer.resumed.get("logs", {}), trainer.strategy.device, metrics_of(self.module))
        return iterator

    def _of_all_ranks(self, left: float) -> float:
        """Batches that every rank has: one with more would wait in vain for the others."""
        trainer = self.trainer
        if trainer.world_size == 1:
            return left
        self.lengths_differ = bool(trainer.strategy.reduce_boolean_decision(not self.source.sized, all=False))
        least = float(trainer.strategy.reduce_number(left, "min"))
        return least if math.isinf(least) else int(least)

    def _restore_rng(self) -> None:
        if kept := self.trainer.resumed.get("rng"):
            rng.restore(kept, self.trainer.strategy.device)

    def _close_epoch(self) -> None:
        """Hooks, metrics and schedulers of an epoch's end, in Lightning's order but for one thing: schedulers that
        watch a metric step before the callbacks that save, so that a checkpoint holds the step."""
        trainer, state = self.trainer, self.state
        trainer.resumed = {}
        trainer.close_batches()
        self.hooks.on_train_epoch_end()
        trainer.take_epoch_metrics(self.logs, step=state.batches_stepped - 1)
        if self.exhausted and self.automatic:
            optim.step_schedulers(trainer, "epoch", state.epoch + 1, plateau=True)
        # An epoch cut short by max_steps or a callback goes on where it is, should a longer run resume it.
        state.epoch_done = self.exhausted
        self.hooks.on_train_epoch_end_monitors()
        boundary(trainer, epoch_ended=True)

    # Batches.

    def _run_batches(self, batches: Iterator[Any]) -> None:
        state, trainer = self.state, self.trainer
        unknown = math.isinf(self.batches)
        ahead = self._look_ahead(batches) if unknown and not self.trainer.resumed.get("last_is_done") else END
        self.exhausted = False
        if state.rest:
            last = trainer.is_last_batch = ahead is END if unknown else state.batch_idx >= self.batches
            self._end_batch(last or state.batch_idx % trainer.accumulate_grad_batches == 0, last)
        while not self._is_cut_short():
            if unknown:  # look one batch ahead to know the last
                batch, ahead = ahead, END if ahead is END else self._look_ahead(batches)
                last = ahead is END
            elif state.batch_idx < self.batches:
                batch = self._next(batches)
                last = state.batch_idx + 1 >= self.batches
            else:
                batch, last = END, True
            trainer.is_last_batch = last
            if batch is END or not self.run_batch(batch, last) or last:
                self.exhausted = trainer.is_last_batch = True
                self.source.note_place()
                return

    @property
    def last_is_done(self) -> bool:
        """Whether the last batch of the epoch is behind us."""
        return self.trainer.is_last_batch and self.state.batch_idx == self.batch_idx + 1

    def _look_ahead(self, batches: Iterator[Any]) -> Any:
        self.source.note_place()
        ahead = self._next(batches)
        if ahead is END:  # from where some begin anew, so that a run that is resumed there must not ask again
            self.source.note_place()
        return ahead

    def _next(self, batches: Iterator[Any]) -> Any:
        """The next batch, or ``END``, which it is for all ranks as soon as one of them has no more."""
        batch = next(batches, END)
        if self.lengths_differ and self.trainer.strategy.reduce_boolean_decision(batch is END, all=False):
            return END
        return batch

    def _run_batch(self, batch: Any, last: bool) -> bool:
        """A batch and what is due after it. Whether the epoch goes on."""
        state, trainer, hooks = self.state, self.trainer, self.hooks
        index = self.batch_idx = state.batch_idx
        self.total_batch_idx, steps = state.batches, state.global_step
        batch = self.transfer(batch, 0)
        self.scope.enter_batch(batch)
        due = last or (index + 1) % trainer.accumulate_grad_batches == 0
        skipped = not self._take(batch, index, due)
        state.batches += 1
        if trainer.lr_scheduler_configs and self.automatic and (due or skipped):
            optim.step_schedulers(trainer, "step", index + 1, plateau=False)
            if last or skipped:
                optim.step_schedulers(trainer, "epoch", state.epoch + 1, plateau=False)
        if skipped:
            self.scope.leave_batch()
            return False
        state.batch_idx = index + 1
        state.batches_stepped += due
        self.gradients_wait = not due if self.automatic else state.global_step == steps
        state.rest = "all"
        hooks.on_train_batch_end(self._output, batch, index)
        self.scope.leave_batch()
        self._output = self._batch = None
        if self.has_agent:
            trainer.tick()
        self._end_batch(due, last)
        return True

    def _end_batch(self, due: bool, last: bool) -> None:
        """What comes after the hooks. A checkpoint that they have saved is gone on from here."""
        state, trainer = self.state, self.trainer
        if state.rest == "all":
            if due and trainer.loggers:
                trainer.log_step(self.logs)
            if self.validates and self._validation_is_due(last):
                self._validate(due)
        state.rest = ""
        if due and trainer.lr_scheduler_configs and self.automatic:
            optim.step_schedulers(trainer, "step", state.batch_idx, plateau=True)
        # An epoch that is over now is closed first: whoever resumes it would find that nothing is left to do.
        if due and (self.has_boundaries or self.stop_signal.received) and not self._is_cut_short():
            boundary(trainer, epoch_ended=False)

    def _take(self, batch: Any, index: int, due: bool) -> bool:
        """The step on a batch. Whether the epoch goes on: ``on_train_batch_start`` ends it with -1."""
        if batch is None:
            self.trainer.warn("the training loader gave None: that batch is passed over")
            return True
        if not self.trainer.forward_inputs:  # in case no step calls forward
            self.trainer.forward_inputs.extend(likely_calls(self.module, few_samples(batch)))
        if self.hooks.on_train_batch_start(batch, index) == -1:
            return False
        self._optimize(batch, index, due)
        return True

    def _optimize(self, batch: Any, index: int, due: bool) -> None:
        if not self.automatic:
            self._output = as_outputs(self.training_step(batch, index))
            return
        self._batch = batch
        resumes = index == self.resumed_at and not self.trainer.resumed.get("gradients")
        self._window_starts = resumes or index % self.trainer.accumulate_grad_batches == 0
        if not due:
            with self.trainer.strategy.no_sync():
                self._closure()
            return
        self.optimizer_step(self.state.epoch, index, self.stepper, self._closure)
        self.state.global_step += 1

    def _closure(self) -> Tensor | None:
        """``training_step`` and the gradients that follow from it."""
        hooks, optimizer, index = self.hooks, self.optimizer, self.state.batch_idx
        loss = self._loss_of(self.training_step(self._batch, index))
        if self._window_starts:
            hooks.on_before_zero_grad(optimizer)
            self.zero_grad(self.state.epoch, index, optimizer)
        if loss is not None:
            hooks.on_before_backward(loss)
            self.backward(loss)
            hooks.on_after_backward()
        return loss

    def _loss_of(self, output: Any) -> Tensor | None:
        """The loss that ``backward`` starts from. Keeps what ``on_train_batch_end`` is given."""
        trainer = self.trainer
        if isinstance(output, Tensor) and trainer.accumulate_grad_batches == 1:  # by far the most common
            self._output = {"loss": output.detach()}
            return output
        loss = loss_of(output, trainer.accumulate_grad_batches, trainer.world_size)
        self._output = {} if loss is None else as_outputs(output, loss)
        return loss

    # Validation in between.

    def _validation_is_due(self, last: bool) -> bool:
        settings, state = self.trainer.settings, self.state
        every, interval = settings.check_val_every_n_epoch, settings.val_check_interval
        if not self.trainer.epoch_validates:
            return False
        if self.trainer.should_stop and self._may_stop():
            return True
        if isinstance(interval, timedelta):
            over = time.monotonic() - self._validated_at >= interval.total_seconds()
            return bool(self.trainer.strategy.broadcast(over))
        if isinstance(interval, int):
            return (state.batches if every is None else state.batch_idx) % interval == 0
        if math.isinf(self.batches):
            return last
        return state.batch_idx % max(1, int(self.batches * interval)) == 0

    def _validate(self, stepped: bool) -> None:
        """``stepped``: whether the batch at hand ended with a step, so that no gradients are being accumulated."""
        trainer = self.trainer
        if stepped:
            self.hooks.on_validation_model_zero_grad()
        self.validation.run(step=self.state.batches_stepped - stepped)
        self._validated_at = time.monotonic()
        trainer.logs = self.logs


def load_training_source(trainer: Trainer) -> Source:
    """The training loader, prepared when first asked for."""
    if trainer.training_source is None:
        assert trainer.train_loader is not None, "fit() checks it"
        source = trainer.training_source = for_training(trainer.train_loader(), trainer.preparing(pad=True))
        trainer.num_training_batches = source.batch_limit(trainer.settings.limit_train_batches, "limit_train_batches")
        if trainer.current_epoch and not trainer.resumed:
            source.draw()  # Lightning opens a loader twice where it is made after the first epoch
    return trainer.training_source
