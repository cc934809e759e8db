"""Runs of an MLflow experiment, on a server or in a directory."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leyden.loggers.artifacts import ArtifactLogger
from leyden.loggers.base import Params, as_dict, flatten, library, rank_zero_experiment
from leyden.rank_zero import rank_zero_only

FILE_SCHEME = "file:"
TRACKING_URI = os.environ.get("MLFLOW_TRACKING_URI")
"""The program's own. Read once, because ``mlflow.set_tracking_uri`` writes there for all that comes later."""

LONGEST_PARAM = 250
ENVIRONMENT = {
    # A server that is not there must not hold up training: by default the client tries for several minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # MLflow 3 wants a database unless it is told that a directory will do.
    "MLFLOW_ALLOW_FILE_STORE": "true",
}
"""Of the MLflow client, where the user has not set it."""


class MLFlowLogger(ArtifactLogger):
    """Logs to the run ``run_id``, or a new one of ``experiment_name``, which is created if need be.

    ``tracking_uri`` is by default ``MLFLOW_TRACKING_URI`` of the environment, else ``save_dir``. ``log_model``: see
    :class:`ArtifactLogger`; ``synchronous=False`` lets MLflow send in the background.
    """

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: dict[str, Any] | None = None,
        save_dir: str | None = "./mlruns",
        log_model: bool | str = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
    ) -> None:
        super().__init__(log_model)
        self._experiment_name = experiment_name
        self._run_name = run_name
        self._uri = tracking_uri or TRACKING_URI or f"{FILE_SCHEME}{save_dir}"
        self.tags = dict(tags or {})
        self._prefix = prefix
        self._artifact_location = artifact_location
        self._run_id = run_id
        self._experiment_id: str | None = None
        self._batch_options = {} if synchronous is None else {"synchronous": synchronous}
        self._client: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The ``MlflowClient``; the run is begun when it is first asked for."""
        if self._client is None:
            for name, value in ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            mlflow = library("mlflow", "mlflow-skinny")
            mlflow.set_tracking_uri(self._uri)
            client = mlflow.MlflowClient(self._uri)
            self._begin(client)
            self._client = client
        return self._client

    def _begin(self, client: Any) -> None:
        if self._run_id is not None:
            self._experiment_id = client.get_run(self._run_id).info.experiment_id
            return
        found = client.get_experiment_by_name(self._experiment_name)
        if found is not None and found.lifecycle_stage != "deleted":
            self._experiment_id = found.experiment_id
        else:
            self._experiment_id = client.create_experiment(self._experiment_name, self._artifact_location)
        if self._run_name is not None:
            self.tags["mlflow.runName"] = self._run_name
        tags = library("mlflow.tracking.context.registry", "mlflow-skinny").resolve_tags(self.tags)
        self._run_id = client.create_run(self._experiment_id, tags=tags).info.run_id

    @property
    def run_id(self) -> str | None:
        """The run's id; begins the run."""
        _ = self.experiment
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; begins the run."""
        _ = self.experiment
        return self._experiment_id

    @property
    def name(self) -> str | None:
        """The experiment's id, as far as it is known."""
        return self._experiment_id

    @property
    def version(self) -> str | None:
        """The run's id, as far as it is known."""
        return self._run_id

    @property
    def save_dir(self) -> str | None:
        """The directory of runs; ``None`` where there is a server."""
        return self._uri.removeprefix(FILE_SCHEME) if self._uri.startswith(FILE_SCHEME) else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        entities, now = library("mlflow.entities", "mlflow-skinny"), int(time.time() * 1000)
        batch = [
            entities.Metric(re.sub(r"[^\w/. -]", "", name, flags=re.ASCII), float(value), now, step or 0)
            for name, value in self._prefixed(metrics).items()
        ]
        self.experiment.log_batch(self.run_id, metrics=batch, **self._batch_options)

    @rank_zero_only
    def log_hyperparams(self, params: Params) -> None:
        entities = library("mlflow.entities", "mlflow-skinny")
        flat = flatten(as_dict(params))
        batch = [entities.Param(name, str(value)[:LONGEST_PARAM]) for name, value in flat.items()]
        self.experiment.log_batch(self.run_id, params=batch, **self._batch_options)

    def _upload(self, path: str, metadata: dict[str, Any], aliases: list[str]) -> None:
        folder = Path(path).stem
        self.experiment.log_artifact(self.run_id, path, folder)
        with tempfile.TemporaryDirectory() as beside:
            (Path(beside) / "metadata.yaml").write_text(json.dumps(metadata, indent=2) + "\n")
            (Path(beside) / "aliases.txt").write_text(str(aliases))
            self.experiment.log_artifacts(self.run_id, beside, folder)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        if self._client is None:
            return
        self._upload_kept()
        self._client.set_terminated(self._run_id, "FAILED" if status == "failed" else "FINISHED")
