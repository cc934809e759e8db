"""Metrics as a CSV file that is only appended to, and rewritten when a new column appears."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leyden.errors import at_least
from leyden.loggers.base import Params
from leyden.loggers.files import VersionedLogger
from leyden.rank_zero import rank_zero_only


class CSVLogger(VersionedLogger):
    """Writes ``<save_dir>/<name>/version_<n>/metrics.csv``: in a run at each log, else every
    ``flush_logs_every_n_steps`` rows."""

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        self._every = at_least("flush_logs_every_n_steps", flush_logs_every_n_steps, 1)
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = []

    @property
    def experiment(self) -> CSVLogger:
        """The logger itself: there is no library behind it."""
        return self

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
        self._rows.append({"step": len(self._rows) if step is None else step, **self._prefixed(values)})
        if len(self._rows) >= self._every:
            self.save()

    def log_hyperparams(self, params: Params = None) -> None:
        self._keep_hyperparams(params)

    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        path = Path(self.log_dir) / "metrics.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and any(name not in self._columns for row in self._rows for name in row):
            with path.open(newline="") as file:
                self._rows = [*csv.DictReader(file), *self._rows]
            path.unlink()
        self._columns = sorted({*self._columns, *(name for row in self._rows for name in row)})
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            if fresh:
                writer.writeheader()
            writer.writerows(self._rows)
        self._rows.clear()
