"""``LightningDataModule``: where batches come from, apart from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from torch.utils.data import DataLoader, Dataset

from leyden.hooks import DataHooks
from leyden.hparams import HyperparametersMixin, remember_arguments

if TYPE_CHECKING:
    from leyden.trainer import Trainer


class LightningDataModule(HyperparametersMixin, DataHooks):
    """Override ``setup`` and the ``*_dataloader`` methods that the run needs.

    The trainer spreads samples over ranks and finds its place again after a restart by itself, so return plain
    ``DataLoader`` objects.
    """

    trainer: Trainer | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        module = super().__new__(cls)
        remember_arguments(module, args, kwargs)
        return module

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Dataset[Any] | None = None,
        val_dataset: Dataset[Any] | None = None,
        test_dataset: Dataset[Any] | None = None,
        predict_dataset: Dataset[Any] | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
    ) -> LightningDataModule:
        """A data module around data sets; only training shuffles."""
        data = cls()
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        for stage, dataset in given.items():
            if dataset is not None:
                loader: DataLoader[Any] = DataLoader(
                    dataset, batch_size=batch_size, shuffle=stage == "train", num_workers=num_workers
                )
                setattr(data, f"{stage}_dataloader", lambda loader=loader: loader)
        return data

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data module, of plain values and tensors."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""

    def on_exception(self, exception: BaseException) -> None:
        """When a run ends by an exception."""
