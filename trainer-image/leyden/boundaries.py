"""Between two steps, where a run can be saved and resumed exactly: save if due, stop if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leyden import rng
from leyden.errors import CheckpointStorage, SIGTERMException
from leyden.requeue import requeue
from leyden_contract import exit_codes

if TYPE_CHECKING:
    from leyden.callbacks import Checkpoint, CheckpointDirectory
    from leyden.trainer import Trainer


def boundary(trainer: Trainer, epoch_ended: bool) -> None:
    """A collective call. Raises ``SIGTERMException`` where the run is to stop."""
    keeper, shared = trainer.checkpoint_directory, trainer.rank_directory
    due = keeper is not None and keeper.due(trainer, epoch_ended)
    if shared is not None:
        shared.progress(trainer)
    if trainer.agreement is not None:
        asked = trainer.stop_signal.received or (shared is not None and shared.stop_requested())
        trainer.leaving, time_is_up = trainer.agreement.exchange(asked, keeper is not None and keeper.time_is_up())
        due = due or time_is_up
    if trainer.leaving:
        _stop(trainer, due)
    elif keeper is not None and due:
        keeper.save(trainer)


def _stop(trainer: Trainer, due: bool) -> None:
    """Commit what the next run goes on from, and end."""
    committed = _commit(trainer, due)
    if trainer.strategy.reduce_boolean_decision(trainer.stop_signal.asks_for_requeue, all=False):
        if not requeue(trainer):
            trainer.leaving, trainer.generators = False, None
            return
        committed = True
    saved = "checkpoint committed" if committed else "nothing saved: no callback was there to do it"
    trainer.print(f"stopped on request at step {trainer.global_step}, {saved}", flush=True)
    raise SIGTERMException(exit_codes.STOPPED)


def _commit(trainer: Trainer, due: bool) -> bool:
    """Save with all callbacks, whichever of them fail, the directory's first. Whether there is something to go on from.

    A save that was ``due`` is one that a run makes also if it goes on, with the random numbers that hooks draw for it.
    """
    before, problems = rng.snapshot(trainer.strategy.device), list[CheckpointStorage]()

    def commit(saver: Checkpoint | CheckpointDirectory, generators: dict[str, Any] | None) -> bool:
        trainer.generators = generators
        try:
            return saver.commit(trainer)
        except CheckpointStorage as problem:
            problems.append(problem)
            return False

    for callback in trainer.checkpoint_callbacks:
        callback.before_commit(trainer)
    keeper = trainer.checkpoint_directory
    committed = keeper is not None and commit(keeper, None if due else before)
    committed |= any([commit(callback, before) for callback in trainer.checkpoint_callbacks])
    if problems:
        raise problems[0]
    return committed
