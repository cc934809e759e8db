"""Metrics, hyperparameters and graphs as TensorBoard reads them, by ``torch.utils.tensorboard``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leyden.loggers.base import Params, as_dict, flatten, library, rank_zero_experiment
from leyden.loggers.files import VersionedLogger
from leyden.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from leyden.module import LightningModule


class TensorBoardLogger(VersionedLogger):
    """Writes event files to ``<save_dir>/<name>/version_<n>[/<sub_dir>]``.

    ``log_graph`` writes the module's graph when ``fit`` begins; ``default_hp_metric`` gives hyperparameters that come
    without a metric the metric ``hp_metric = -1``, so that TensorBoard lists them; ``prefix`` goes before all names,
    and ``kwargs`` to ``SummaryWriter``.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        self._sub_dir = os.fspath(sub_dir or "")
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._options = kwargs
        self._writer: Any = None

    @property
    def log_dir(self) -> str:
        return str(Path(super().log_dir) / self._sub_dir)

    @property
    def sub_dir(self) -> str | None:
        """The directory within that of the run."""
        return self._sub_dir or None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The ``SummaryWriter``."""
        if self._writer is None:
            library("tensorboard", "tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(log_dir=self.log_dir, **self._options)
        return self._writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in self._prefixed(metrics).items():
            if isinstance(value, Mapping):
                self.experiment.add_scalars(name, value, step)
            else:
                self.experiment.add_scalar(name, value, step)

    @rank_zero_only
    def log_hyperparams(self, params: Params, metrics: Any = None, step: int | None = None) -> None:
        """``metrics``: a dict of numbers that the hyperparameters led to, or one number, which is ``hp_metric``."""
        self._keep_hyperparams(params)
        if metrics is None:
            metrics = {"hp_metric": -1} if self._default_hp_metric else {}
        elif not isinstance(metrics, Mapping):
            metrics = {"hp_metric": metrics}
        if not metrics:
            return
        self.log_metrics(metrics, step if step is not None else 0)
        writer = self.experiment._get_file_writer()
        from torch.utils.tensorboard.summary import hparams

        values = {name: _plain(value) for name, value in flatten(as_dict(params)).items()}
        for summary in hparams(values, dict(metrics)):  # type: ignore[no-untyped-call]  # torch has no types here
            writer.add_summary(summary)

    @rank_zero_only
    def log_graph(self, model: LightningModule, input_array: Any = None) -> None:
        if not self._log_graph:
            return
        example = input_array if input_array is not None else model.example_input_array
        if not isinstance(example, (Tensor, tuple)):
            given = "is not set" if example is None else f"is a {type(example).__name__}"
            warnings.warn(
                f"no graph for TensorBoard: example_input_array {given}, and must be a tensor or a tuple", stacklevel=2
            )
            return
        from leyden.modes import in_evaluation, on_its_device

        with in_evaluation(model, model.device):
            self.experiment.add_graph(model, on_its_device(model, example))

    @rank_zero_only
    def save(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._writer is not None:
            self._writer.close()  # which opens again at the next call


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, Tensor)) else str(value)
