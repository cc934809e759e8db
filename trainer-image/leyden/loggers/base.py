"""What a logger is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Logger:
    """Receives metrics and hyperparameters on rank 0."""

    @property
    def name(self) -> str | None:
        """The experiment's name."""
        return None

    @property
    def version(self) -> int | str | None:
        """The run among those of one name."""
        return None

    @property
    def save_dir(self) -> str | None:
        """Root of the files that it writes."""
        return None

    @property
    def log_dir(self) -> str | None:
        """Directory of this run's files."""
        return None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take metrics of a step."""
        raise NotImplementedError

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Take the run's hyperparameters."""

    def save(self) -> None:
        """Write what is buffered."""

    def finalize(self, status: str) -> None:
        """The run ended: ``success`` or ``failed``."""
        self.save()
