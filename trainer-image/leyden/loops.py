"""Lightning's names for how far training is and how long it goes: ``trainer.fit_loop`` and its ``epoch_loop``.

They hold nothing. The loops that run are :class:`leyden.training.TrainingLoop` and
:class:`leyden.evaluation.EvaluationLoop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leyden.training import load_training_source

if TYPE_CHECKING:
    from leyden.evaluation import EvaluationLoop
    from leyden.trainer import Trainer


class EpochLoop:
    """The batches of an epoch."""

    __slots__ = ("trainer",)

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @property
    def batch_idx(self) -> int:
        """The batch that runs or ran last; -1 ahead of the first."""
        loop = self.trainer.training_loop
        return loop.batch_idx if loop is not None else self.trainer.run_state.batch_idx - 1

    @property
    def total_batch_idx(self) -> int:
        """The same over all epochs."""
        loop = self.trainer.training_loop
        return loop.total_batch_idx if loop is not None else self.trainer.run_state.batches - 1

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""
        return self.trainer.global_step

    @property
    def val_loop(self) -> EvaluationLoop | None:
        """The validations within a ``fit``, once it has begun."""
        return self.trainer.validate_loop


class FitLoop:
    """The epochs of a ``fit``."""

    __slots__ = ("trainer",)  # what nobody reads cannot be set either

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @property
    def epoch_loop(self) -> EpochLoop:
        return EpochLoop(self.trainer)

    @property
    def max_epochs(self) -> int:
        """Epochs after which training ends; -1 where nothing but steps limits it. May be set during a run."""
        return self.trainer.max_epochs

    @max_epochs.setter
    def max_epochs(self, epochs: int) -> None:
        self.trainer.max_epochs = epochs

    @property
    def min_epochs(self) -> int:
        """Epochs that nobody's wish to stop ends training before."""
        return self.trainer.min_epochs

    @property
    def max_steps(self) -> int:
        """Optimizer steps after which training ends; -1 where nothing but epochs limits it."""
        return self.trainer.max_steps

    @property
    def min_steps(self) -> int | None:
        """Optimizer steps that nobody's wish to stop ends training before."""
        return self.trainer.min_steps

    @property
    def max_batches(self) -> float:
        """Batches of an epoch; infinite where that is not known yet."""
        return self.trainer.num_training_batches

    def setup_data(self) -> None:
        """Make the training loader now, for a ``configure_optimizers`` that wants to look at it."""
        load_training_source(self.trainer)
