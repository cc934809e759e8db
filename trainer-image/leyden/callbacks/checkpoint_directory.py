"""The checkpoints of a job: a directory per step with a manifest, kept, pruned and resumed from by one plan.

A TrainingJob's plan comes by the environment and takes the place of one that a script made for itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from leyden.callbacks.base import Callback
from leyden.checkpoint import shards, signature, store
from leyden.checkpoint.capture import capture
from leyden.checkpoint.places import Place, place
from leyden.checkpoint.saving import Saving
from leyden.errors import CheckpointStorage, MisconfigurationError
from leyden_contract import environment

if TYPE_CHECKING:
    from leyden.export import Exporter
    from leyden.module import LightningModule
    from leyden.trainer import Trainer
    from leyden_contract.launch import CheckpointPlan
    from leyden_contract.wire import Checkpoint, Checkpoints


class CheckpointDirectory(Callback):
    """Commit a checkpoint directory every so often, keep the newest and the best, and resume from the newest.

    At most one of ``every_n_epochs``, ``every_n_steps`` and ``every_minutes``; default: each epoch. ``keep_best``
    counts only with ``monitor``. ``resume="never"`` starts afresh. ``directory`` may be a URL of any file system that
    fsspec knows, like ``s3://bucket/run``. ``export``: formats among ``"exported"`` (``.pt2``), ``"onnx"`` and
    ``"torchscript"``, in which each checkpoint also holds the module, to be served without its code.

    Saves are ``asynchronous``: training waits for a copy in host memory, and a thread writes it. Nobody reads a
    checkpoint before its manifest is there, so nobody can tell, and a run waits for its last one. A save that fails
    is a warning, and training goes on; where the last one fails, the run ends with ``CheckpointStorage``.
    """

    watches_metrics = True

    def __init__(
        self,
        directory: str | Path,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        every_minutes: int | None = None,
        keep_last: int = 3,
        keep_best: int = 1,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        resume: Literal["auto", "never"] = "auto",
        export: Sequence[str] = (),
        asynchronous: bool = True,
    ) -> None:
        self.directory = place(directory)
        self._arguments: dict[str, Any] = {
            "directory": str(directory),
            "every": {"epochs": every_n_epochs, "steps": every_n_steps, "minutes": every_minutes},
            "keep": {"last": keep_last, "best": keep_best},
            "monitor": {"metric": monitor, "mode": mode} if monitor else None,
            "resume": {"mode": resume},
            "export": export,
        }
        self._exporter: Exporter | None = None
        self._saving = Saving(asynchronous)
        self._traced: list[signature.Traced | None] = []
        """The module's ``forward``, once it is known."""
        self._skipped: tuple[str, ...] = ()
        self._goes_on = False
        self._ignored: frozenset[str] = frozenset()
        self._last_saved: tuple[int, int] | None = None
        self._next_time = 0.0

    @classmethod
    def from_plan(cls, plan: CheckpointPlan) -> CheckpointDirectory:
        """The callback that follows a plan."""
        made = cls(plan.directory)
        made.plan = plan
        return made

    @cached_property
    def plan(self) -> CheckpointPlan:
        """The plan. Raises ``MisconfigurationError`` where the arguments make none."""
        from pydantic import ValidationError

        from leyden_contract.launch import CheckpointPlan

        try:
            return CheckpointPlan.model_validate(self._arguments)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise MisconfigurationError(f"CheckpointDirectory {field}: {first['msg']}") from None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._next_time = time.monotonic() + 60 * (self.plan.every.minutes or 0)
            self._exporter = None
            self._traced = []

    # Resuming.

    def find(self, trainer: Trainer) -> Place | None:
        """The checkpoint that this run starts from. Rank 0 decides for all."""
        answer: Any = self._find() if trainer.is_global_zero else None
        found, self._skipped, self._goes_on = trainer.strategy.broadcast(answer)
        for reason in self._skipped:
            trainer.warn(f"checkpoint passed over: {reason}")
        return place(found) if found else None

    def _find(self) -> tuple[str | None, tuple[str, ...], bool]:
        """The checkpoint, why others are not taken, and whether it is of this run."""
        plan = self.plan
        store.prepare(self.directory, _job_attempt())
        if plan.resume.mode == "never":
            self._ignored = self._older_than_the_run()
        own = store.choose(self.directory, ignored=self._ignored)
        # A damaged one may be the newest for long: it must not push out those that this run commits.
        self._ignored |= own.damaged
        stored, skipped, goes_on = own.stored, own.skipped, own.stored is not None
        if stored is None and plan.resume.mode == "other" and plan.resume.directory:
            other = store.choose(place(plan.resume.directory), plan.resume.step)
            stored, skipped = other.stored, skipped + other.skipped
            if stored is None:
                why = "; ".join(other.skipped) or "empty"
                raise MisconfigurationError(f"resume: {plan.resume.directory} holds no checkpoint to start from: {why}")
        return (str(stored.path) if stored is not None else None), skipped, goes_on

    def resumed(self, trainer: Trainer) -> None:
        """The run now stands where its newest checkpoint is. One that was over stays over."""
        self._last_saved = _mark(trainer)
        if self._goes_on and trainer.resumed.get("should_stop"):
            trainer.should_stop = True
            trainer.print("the run was told to stop there: name the checkpoint as ckpt_path to train on", flush=True)

    def _older_than_the_run(self) -> frozenset[str]:
        """What a run that starts afresh must leave alone: also after a restart, when its own checkpoints count."""
        if attempt := _job_attempt():
            return store.disown(self.directory, attempt.rsplit("-", 1)[0], first=False)
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        return store.disown(self.directory, "restarts", first)

    # Saving.

    def due(self, trainer: Trainer, epoch_ended: bool) -> bool:
        """Whether the plan asks for a checkpoint at this boundary, as far as counting says it."""
        every, state = self.plan.every, trainer.run_state
        if every.steps is not None:
            stepped = not epoch_ended and not trainer.gradients_wait
            return stepped and state.global_step > 0 and state.global_step % every.steps == 0
        if every.minutes is not None:
            return False
        return epoch_ended and (state.epoch + 1) % (every.epochs or 1) == 0

    def time_is_up(self) -> bool:
        """Whether the minutes between checkpoints are over on this rank."""
        return self.plan.every.minutes is not None and time.monotonic() >= self._next_time

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last state is always kept."""
        self.commit(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._saving.abandon(trainer)

    def commit(self, trainer: Trainer) -> bool:
        """Save, and wait until it is durable. A collective call. Raises ``CheckpointStorage`` where it cannot be."""
        self._saving.settle(trainer)
        self.save(trainer)
        self._saving.finish(trainer)
        return True

    def save(self, trainer: Trainer) -> None:
        """Save the run as it stands, unless the last checkpoint is of this very place. A collective call.

        Where it is leaving, no export that takes seconds is begun.
        """
        mark = _mark(trainer)
        if mark == self._last_saved and self._saving.problem is None:
            return
        sharded = trainer.strategy.shards_checkpoints
        contents = capture(trainer, whole=not sharded)
        asks = trainer.is_global_zero or trainer.strategy.forward_is_collective
        facts = self._facts(trainer, contents) if asks else {}
        rest = {name: value for name, value in contents.items() if name != "state_dict"}
        files = {store.WEIGHTS: contents["state_dict"], store.STATE: rest}
        del contents, rest  # Saving lets go of them
        parts = shards.Parts()
        if sharded:
            self._saving.settle(trainer)
            files, mine = shards.split(files)
            parts = shards.write(trainer.strategy, self.directory, _job_attempt(), trainer.global_step, mine)
            del mine
        if trainer.is_global_zero:
            facts["exports"], exports = self._exports(trainer)
            files.update(exports)
        self._saving.save(trainer, files, lambda staged: self._write(trainer, staged, facts, parts))
        self._last_saved = mark
        trainer.tick()
        if self.plan.every.minutes is not None:
            self._next_time = time.monotonic() + 60 * self.plan.every.minutes

    def _facts(self, trainer: Trainer, contents: dict[str, Any]) -> dict[str, Any]:
        """What the manifest says of the run as it stands."""
        module = trainer.lightning_module
        if not self._traced:
            self._traced = [signature.trace(module, trainer.forward_inputs)]
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {
            "step": trainer.run_state.global_step,
            "epoch": trainer.run_state.epoch,
            "metrics": {name: value for name, value in metrics.items() if abs(value) < float("inf")},
            "module": signature.import_path(type(module)),
            "hyperparameters": signature.json_values({**contents["leyden"]["arguments"], **module.hparams}),
            "signature": self._traced[0].signature if self._traced[0] is not None else None,
            "torch_version": torch.__version__,
            "world_size": trainer.world_size,
        }

    def _write(self, trainer: Trainer, files: dict[str, Any], facts: dict[str, Any], parts: shards.Parts) -> None:
        """Rank 0 only, behind the training's back. The agent learns what is there afterwards, and what failed."""
        try:
            if parts.problem is not None:
                raise parts.problem
            store.write(self.directory, files, facts, _job_attempt(), parts.draft, parts.files)
            self._prune(trainer.served_checkpoints())
        except CheckpointStorage as error:
            trainer.report_checkpoints(self.checkpoints(str(error)))
            raise
        trainer.report_checkpoints(self.checkpoints())

    def _exports(self, trainer: Trainer) -> tuple[dict[str, str], dict[str, bytes]]:
        """File names by format, and contents by file name."""
        if not self.plan.export:
            return {}, {}
        from leyden.export import Exporter
        from leyden.export.formats import FORMATS

        self._exporter = self._exporter or Exporter(self.plan.export)
        found = self._exporter.files(trainer.lightning_module, self._traced[0], trainer.warn, only_made=trainer.leaving)
        names = {kind: FORMATS[kind].file for kind in found}
        return names, {names[kind]: data for kind, data in found.items()}

    def _ranked(self, kept: list[store.Stored]) -> list[store.Stored]:
        monitor = self.plan.monitor
        return store.rank(kept, monitor.metric, monitor.mode) if monitor is not None else []

    def _prune(self, served: frozenset[str] | None) -> None:
        kept = store.complete(self.directory, self._ignored)
        if served is not None:
            store.mark_served(kept, served)
        best = self._ranked(kept)[: max(1, self.plan.keep.best)]
        for stored in store.surplus(kept, self.plan.keep.last, best):
            store.remove(stored)

    def checkpoints(self, problem: str = "") -> Checkpoints:
        """What is on disk now, as the job's status shows it. ``problem``: why there is nothing newer."""
        from leyden_contract.wire import Checkpoints

        kept = store.complete(self.directory, self._ignored)
        ranked = self._ranked(kept)
        return Checkpoints(
            latest=_wire(kept[0]) if kept else None,
            best=_wire(ranked[0]) if ranked else None,
            kept=tuple(_wire(stored) for stored in kept[:32]),
            skipped=(*self._skipped, problem) if problem else self._skipped,
        )


def _job_attempt() -> str:
    """The attempt of a TrainingJob that this process belongs to; empty elsewhere, where names may be used again."""
    return os.environ.get(environment.RUN_ID, "")


def _mark(trainer: Trainer) -> tuple[int, int]:
    """Batches and whole epochs: what tells one boundary from another."""
    state = trainer.run_state
    return state.batches, state.epoch + state.epoch_done


def _wire(stored: store.Stored) -> Checkpoint:
    from leyden_contract.wire import Checkpoint

    manifest = stored.manifest
    return Checkpoint(
        step=manifest.step,
        epoch=manifest.epoch,
        directory=stored.path.name,
        digest=stored.digest,
        metrics=manifest.metrics,
        exports=tuple(manifest.exports),
    )


def planned_by_environment() -> CheckpointDirectory | None:
    """The callback for the job's plan, where this process belongs to a job."""
    text = os.environ.get(environment.CHECKPOINT)
    if not text:
        return None
    from leyden_contract.launch import CheckpointPlan

    return CheckpointDirectory.from_plan(CheckpointPlan.model_validate_json(text))
