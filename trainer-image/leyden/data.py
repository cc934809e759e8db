"""``LightningDataModule``: where batches come from, apart from the model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from torch.utils.data import DataLoader, Dataset, IterableDataset

from leyden.errors import MisconfigurationError, only_weights
from leyden.hooks import DataHooks
from leyden.hparams import HyperparametersMixin

if TYPE_CHECKING:
    from leyden.trainer import Trainer

Datasets = Dataset[Any] | Mapping[str, Dataset[Any]] | Sequence[Dataset[Any]] | None


class LightningDataModule(HyperparametersMixin, DataHooks):
    """Override ``setup`` and the ``*_dataloader`` methods that the run needs.

    The trainer spreads samples over ranks and finds its place again after a restart by itself, so return plain
    ``DataLoader`` objects.
    """

    CHECKPOINT_HYPER_PARAMS_KEY = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "datamodule_hparams_type"

    name: str | None = None
    trainer: Trainer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "trainer": None}  # a copy, or what is pickled, belongs to no run

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Datasets = None,
        val_dataset: Datasets = None,
        test_dataset: Datasets = None,
        predict_dataset: Datasets = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> Self:
        """A data module around data sets, or lists or dicts of them; only training shuffles.

        ``datamodule_kwargs`` go to the constructor, and so do ``batch_size`` and ``num_workers`` where it takes them.
        """
        options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers}
        data = cls(**datamodule_kwargs, **_accepted(cls, options))

        def loader_of(dataset: Any, shuffle: bool) -> Any:
            if isinstance(dataset, Mapping):
                return {name: loader_of(part, shuffle) for name, part in dataset.items()}
            if isinstance(dataset, (list, tuple)):
                return [loader_of(part, shuffle) for part in dataset]
            return DataLoader(dataset, shuffle=shuffle and not isinstance(dataset, IterableDataset), **options)

        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        for stage, dataset in given.items():
            if dataset is not None:
                make = functools.partial(loader_of, dataset, shuffle=stage == "train")
                setattr(data, f"{stage}_dataloader", make)
        return data

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """The data module of a checkpoint: its saved hyperparameters, replaced by ``kwargs``, and its state."""
        from leyden.checkpoint.loading import load_data

        only_weights(weights_only)
        if hparams_file is not None:
            raise MisconfigurationError("hparams_file is not supported: give the arguments to load_from_checkpoint")
        return load_data(cls, checkpoint_path, map_location, kwargs)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data module, of plain values and tensors."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""

    def on_exception(self, exception: BaseException) -> None:
        """When a run ends by an exception."""


def _accepted(cls: type, options: dict[str, Any]) -> dict[str, Any]:
    """Those that the constructor takes."""
    parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]  # read only
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return options
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in options.items() if name in names}
