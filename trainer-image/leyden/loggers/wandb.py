"""Runs of a Weights & Biases project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.errors import MisconfigurationError, bad_value
from leyden.loggers.artifacts import ArtifactLogger
from leyden.loggers.base import Params, as_dict, library, rank_zero_experiment
from leyden.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from torch import nn

STEP = "trainer/global_step"


class WandbLogger(ArtifactLogger):
    """Logs to the run ``id`` (or ``version``, which is the same) of ``project``, or to a new one.

    ``offline`` writes to ``save_dir`` only, for ``wandb sync`` later. ``experiment`` is a run that exists already; one
    that the process has begun is taken by itself. ``log_model``: see :class:`ArtifactLogger`, files under the name
    ``checkpoint_name``. ``kwargs`` go to ``wandb.init``.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path = ".",
        version: str | None = None,
        offline: bool = False,
        dir: str | Path | None = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: bool | str = False,
        experiment: Any = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: str = "mutable",
        **kwargs: Any,
    ) -> None:
        super().__init__(log_model)
        if offline and log_model:
            raise MisconfigurationError(
                f"offline=True and log_model={log_model!r} exclude each other: checkpoints are not kept offline"
            )
        self._prefix = prefix
        self._experiment = experiment
        self._checkpoint_name = checkpoint_name
        self._add_file_policy = add_file_policy
        self._options: dict[str, Any] = {
            "name": name,
            "project": project or os.environ.get("WANDB_PROJECT", "lightning_logs"),
            "dir": os.fspath(save_dir or dir or "."),
            "id": version or id,
            "resume": "allow",
            **({"mode": "offline"} if offline else {}),
            **({"anonymous": "allow"} if anonymous else {}),
        }
        self._options.update(**kwargs)  # in this way jsonargparse finds that wandb.init() says which there are

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run."""
        if self._experiment is None:
            library("wandb", "wandb")
            import wandb

            if wandb.run is not None:
                self._experiment = wandb.run
                return self._experiment
            Path(self._options["dir"]).mkdir(parents=True, exist_ok=True)
            run = wandb.init(**self._options)
            if self._options.get("sync_tensorboard"):
                run.define_metric("*", step_metric="global_step")
            else:
                run.define_metric(STEP)
                run.define_metric("*", step_metric=STEP, step_sync=True)
            self._experiment = run
        return self._experiment

    @property
    def name(self) -> str | None:
        """The project's name."""
        project: str | None = self._options["project"]
        return project

    @property
    def version(self) -> str | None:
        """The run's id, as far as it is known."""
        known: str | None = self._experiment.id if self._experiment is not None else self._options["id"]
        return known

    @property
    def save_dir(self) -> str:
        return str(self._options["dir"])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        values = self._prefixed(metrics)
        if step is not None and not self._options.get("sync_tensorboard"):
            values[STEP] = step
        self.experiment.log(values)

    @rank_zero_only
    def log_hyperparams(self, params: Params) -> None:
        self.experiment.config.update({name: _plain(v) for name, v in as_dict(params).items()}, allow_val_change=True)

    def watch(
        self, model: nn.Module, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = True
    ) -> None:
        """Log gradients and parameters of a module as histograms."""
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    @rank_zero_only
    def log_table(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """A table, of ``columns`` and ``data`` or of a dataframe."""
        table = library("wandb", "wandb").Table(columns=columns, data=data, dataframe=dataframe)
        self.log_metrics({key: table}, step)

    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Texts, as a table."""
        self.log_table(key, columns, data, dataframe, step)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Images: tensors, arrays, PIL images or paths; ``kwargs`` are lists with an entry for each (``caption``)."""
        self._log_media("Image", key, images, step, kwargs)

    def log_audio(self, key: str, audios: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Sounds: arrays or paths; ``kwargs`` are lists with an entry for each (``sample_rate``)."""
        self._log_media("Audio", key, audios, step, kwargs)

    def log_video(self, key: str, videos: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Videos: arrays or paths; ``kwargs`` are lists with an entry for each (``fps``)."""
        self._log_media("Video", key, videos, step, kwargs)

    @rank_zero_only
    def _log_media(self, kind: str, key: str, items: list[Any], step: int | None, options: dict[str, Any]) -> None:
        if not isinstance(items, list):
            raise bad_value(f"{kind.lower()}s", type(items).__qualname__, "a list")
        for name, values in options.items():
            if len(values) != len(items):
                raise bad_value(name, values, f"a list of {len(items)}, one for each of them")
        make = getattr(library("wandb", "wandb"), kind)
        each = ({name: values[index] for name, values in options.items()} for index in range(len(items)))
        self.log_metrics({key: [make(item, **own) for item, own in zip(items, each, strict=True)]}, step)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """Note that the run uses an artifact of the server's, and give it."""
        return self.experiment.use_artifact(artifact, type=artifact_type)

    @staticmethod
    def download_artifact(
        artifact: str,
        save_dir: str | Path | None = None,
        artifact_type: str | None = None,
        use_artifact: bool | None = True,
    ) -> str:
        """Fetch an artifact into ``save_dir``. Returns the path."""
        wandb = library("wandb", "wandb")
        if wandb.run is not None and use_artifact:
            found = wandb.run.use_artifact(artifact)
        else:
            found = wandb.Api().artifact(artifact, type=artifact_type)
        return str(found.download(root=os.fspath(save_dir) if save_dir is not None else None))

    def _upload(self, path: str, metadata: dict[str, Any], aliases: list[str]) -> None:
        name = self._checkpoint_name or f"model-{self.experiment.id}"
        artifact = library("wandb", "wandb").Artifact(name=name, type="model", metadata=metadata)
        artifact.add_file(path, name="model.ckpt", policy=self._add_file_policy)
        self.experiment.log_artifact(artifact, aliases=aliases)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None and status == "success":
            self._upload_kept()


def _plain(value: Any) -> Any:
    """What JSON has as it is, functions and classes by name, and the text of everything else."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    return getattr(value, "__name__", None) or str(value)  # a text with an address would differ by run
