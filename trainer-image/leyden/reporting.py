"""What was logged, on its way from a run to callbacks, loggers and people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.errors import MisconfigurationError
from leyden.loggers.base import Logger, tell
from leyden.trainer_state import TrainerState

if TYPE_CHECKING:
    from leyden.logs import Logs
    from leyden.reductions import Reduced
    from leyden.trainer import Trainer


class Reporting(TrainerState):
    """The part of a Trainer that hands on metrics."""

    @property
    def logger(self) -> Logger | None:
        """The first logger."""
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [logger] if logger is not None else []

    @property
    def log_dir(self) -> str | None:
        """The first logger's directory; where it has none for the run, the one that it writes below."""
        if not self.loggers:
            return self.default_root_dir
        return self.loggers[0].log_dir or self.loggers[0].save_dir

    @property
    def logs_are_due(self) -> bool:
        """Whether the loggers get the metrics of the batch that runs, if it steps."""
        every = self.settings.log_every_n_steps
        return bool(every) and ((self.run_state.batches_stepped + 1) % every == 0 or self.should_stop)

    @property
    def logs_were_due(self) -> bool:
        """Whether the loggers get the metrics of the batch that has just stepped."""
        every = self.settings.log_every_n_steps
        return bool(every) and (self.run_state.batches_stepped % every == 0 or self.should_stop)

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """All metrics logged so far, by name, newest values."""
        self.keep_latest()
        return self.metrics.callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """The same of what is logged for loggers, whether there are any or not, with ``_step`` and ``_epoch``."""
        self.keep_latest()
        return self.metrics.logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """The same of what was logged with ``prog_bar=True``."""
        self.keep_latest()
        return {name: float(value) for name, value in self.metrics.progress_bar.items()}

    def keep_latest(self) -> None:
        """Keep the values of the logs that are in use, which will have others."""
        self.metrics.update(self.logs.news())

    def close_batches(self) -> None:
        """Let hooks of the epoch's end have what its batches came to. A collective call."""
        self.keep_latest()
        self.logs.close_batches()

    def take_epoch_metrics(self, logs: Logs, step: int) -> list[Reduced]:
        """Close an epoch's metrics: for callbacks, loggers, and as the result of an evaluation. A collective call."""
        self.keep_latest()
        reduced = logs.finish_epoch()
        for one in reduced:
            one.show(self.metrics)
        if not self.sanity_checking:
            self.send_to_loggers({one.name: one.value for one in reduced if one.logger}, step)
        return reduced

    def log_step(self, logs: Logs) -> None:
        """Give a step's metrics to the loggers, every ``log_every_n_steps``."""
        if self.logs_were_due:
            values = {name: float(value) for name, value in logs.step_values().items()}
            self.send_to_loggers(values, self.run_state.batches_stepped - 1)

    def send_to_loggers(self, metrics: dict[str, float], step: int) -> None:
        """Give metrics to all loggers, with the epoch; a metric named ``step`` takes the place of both."""
        if not metrics:
            return
        self.metrics.logged.update((name, torch.as_tensor(value)) for name, value in metrics.items())
        values = dict(metrics)
        if "step" in values:
            step = int(values.pop("step"))
        else:
            values.setdefault("epoch", float(self.current_epoch))
        self.log_everywhere(values, step)

    def log_everywhere(self, values: dict[str, float], step: int) -> None:
        """Give values to all loggers as they are, and have them written. Rank 0 only."""

        def log(logger: Logger) -> None:
            logger.log_metrics(metrics=values, step=step)
            logger.save()

        tell(self.loggers, log)


def begin_logging(trainer: Trainer) -> None:
    """Open the loggers, so that one which cannot be is found now, and give them hyperparameters and graph."""
    if not trainer.enable_autolog_hparams or not trainer.loggers:
        return
    module, hparams = trainer.lightning_module, _hyperparameters(trainer)
    tell(trainer.loggers, lambda logger: logger.experiment)
    if hparams is not None:
        tell(trainer.loggers, lambda logger: logger.log_hyperparams(hparams))
    tell(trainer.loggers, lambda logger: logger.log_graph(module))
    tell(trainer.loggers, lambda logger: logger.save())


def _hyperparameters(trainer: Trainer) -> dict[str, Any] | None:
    """Those that the module and the data module saved for loggers; ``None`` where neither did."""
    owners = [owner for owner in (trainer.lightning_module, trainer.datamodule) if owner is not None]
    saved = [owner.hparams_initial for owner in owners if owner.logs_hyperparameters]
    if not saved:
        return None
    merged = dict(saved[0])
    for other in saved[1:]:
        clashing = [name for name in merged.keys() & other.keys() if not _equal(merged[name], other[name])]
        if clashing:
            raise MisconfigurationError(
                f"module and data module both have hyperparameters {', '.join(sorted(clashing))} and disagree: "
                "rename them, or save those of one with save_hyperparameters(logger=False)"
            )
        merged.update(other)
    return merged


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return one is other
    return type(one) is type(other) and bool(one == other)
