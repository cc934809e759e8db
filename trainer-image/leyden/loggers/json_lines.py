"""Metrics as JSON, a line for each call: what log collectors and ``jq`` read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from leyden.loggers.base import Params, as_dict
from leyden.loggers.files import DirectoryLogger
from leyden.rank_zero import rank_zero_only


class JSONLinesLogger(DirectoryLogger):
    """Appends ``{"step": 7, "loss": 0.5}`` to ``<save_dir>/<name>/metrics.jsonl``, flushed at once.

    Hyperparameters are a line ``{"hyperparameters": {...}}``. NaN and infinities, which JSON has not, are text.
    """

    def __init__(self, save_dir: str | Path, name: str = "lightning_logs", prefix: str = "") -> None:
        super().__init__(save_dir, name, prefix)
        self._file: TextIO | None = None

    @property
    def log_dir(self) -> str:
        return self.root_dir

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = self._prefixed(metrics)
        self._write({"step": step, **{name: v if math.isfinite(v) else str(v) for name, v in values.items()}})

    def log_hyperparams(self, params: Params) -> None:
        self._write({"hyperparameters": as_dict(params)})

    @rank_zero_only
    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._file = (Path(self.log_dir) / "metrics.jsonl").open("a", encoding="utf-8")
        print(json.dumps(entry, default=repr), file=self._file, flush=True)

    def finalize(self, status: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
