"""Operators on CPU and GPU, by ``torch.profiler``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import record_function

from leyden.errors import bad_value
from leyden.profilers.base import Profiler


class PyTorchProfiler(Profiler):
    """:class:`torch.profiler.profile` around each run, with the run's actions as ranges in it.

    Each training batch is one of its steps, so a ``schedule`` counts batches. The summary is its table of operators;
    ``export_to_chrome`` also writes ``<dirpath>/<stage>-<filename or 'trace'>.json`` (default directory: the logger's),
    unless an ``on_trace_ready`` of ``profiler_kwargs`` takes the trace. ``table_kwargs`` go to that table, and
    ``profiler_kwargs`` to torch; ``record_module_names`` has no effect.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: dict[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename)
        self._by_shape = group_by_input_shapes
        self._export = export_to_chrome
        sort_by = f"{'cuda' if torch.cuda.is_available() else 'cpu'}_time_total"
        if emit_nvtx:
            raise bad_value("emit_nvtx", emit_nvtx, "False: run the program under nsys, which needs no profiler here")
        self._table = {"sort_by": sort_by_key or sort_by, "row_limit": row_limit, **(table_kwargs or {})}
        self._options = {"record_shapes": group_by_input_shapes, **profiler_kwargs}
        self._ranges: dict[str, record_function] = {}
        self.profiler: torch.profiler.profile | None = None

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | Path | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self.profiler = torch.profiler.profile(**self._options)
        self.profiler.start()

    def start(self, action_name: str) -> None:
        if self.profiler is not None:
            self._ranges[action_name] = record_function(action_name)
            self._ranges[action_name].__enter__()  # type: ignore[no-untyped-call]  # torch has no types here

    def stop(self, action_name: str) -> None:
        if (running := self._ranges.pop(action_name, None)) is not None:
            running.__exit__(None, None, None)
        if action_name == "run_training_batch" and self.profiler is not None:
            self.profiler.step()

    def summary(self) -> str:
        if self.profiler is None:
            return ""
        self.profiler.stop()
        if self._export and "on_trace_ready" not in self._options:  # which takes the trace, and there is one alone
            self.profiler.export_chrome_trace(str(self._file(f"{self.filename or 'trace'}.json")))
        averages = self.profiler.key_averages(group_by_input_shape=self._by_shape)
        return str(averages.table(**self._table))

    def teardown(self, stage: str) -> None:
        self.profiler = None
        self._ranges.clear()
