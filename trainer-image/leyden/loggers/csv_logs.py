"""Metrics as a CSV file that is only appended to, and rewritten when a new column appears."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leyden.loggers.base import Logger


class CSVLogger(Logger):
    """Writes ``<save_dir>/<name>/version_<n>/metrics.csv`` every ``flush_logs_every_n_steps`` rows."""

    def __init__(
        self,
        save_dir: str | Path,
        name: str = "lightning_logs",
        version: int | str | None = None,
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        self._save_dir = Path(save_dir)
        self._name = name
        self._version = version
        self._every = flush_logs_every_n_steps
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> int | str:
        if self._version is None:
            taken = [path.name.removeprefix("version_") for path in (self._save_dir / self._name).glob("version_*")]
            self._version = max((int(number) for number in taken if number.isdigit()), default=-1) + 1
        return self._version

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    @property
    def log_dir(self) -> str:
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return str(self._save_dir / self._name / version)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._rows.append({"step": step, **metrics})
        if len(self._rows) >= self._every:
            self.save()

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        Path(self.log_dir).mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(params), indent=2, default=repr)
        (Path(self.log_dir) / "hparams.json").write_text(text + "\n")

    def save(self) -> None:
        if not self._rows:
            return
        path = Path(self.log_dir) / "metrics.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = list(dict.fromkeys([*self._columns, *(name for row in self._rows for name in row)]))
        if columns != self._columns and path.exists():
            with path.open(newline="") as file:
                self._rows = [*csv.DictReader(file), *self._rows]
            path.unlink()
        self._columns = columns
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if fresh:
                writer.writeheader()
            writer.writerows(self._rows)
        self._rows.clear()
