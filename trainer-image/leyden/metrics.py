"""Metrics that are right across ranks and batches of uneven size: sums and counts are kept, and only these are reduced.

Log the object itself (``self.log("val_acc", self.accuracy)``) or call :meth:`Metric.compute`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


class Metric:
    """A ratio of two sums. Subclasses call :meth:`add` from their ``update``."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self.last: Tensor | None = None
        self._update_count = 0

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take in a batch."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """:meth:`update`, and the value of this batch alone."""
        self.update(*args, **kwargs)
        assert self.last is not None
        return self.last

    def add(self, numerator: Tensor, denominator: float) -> None:
        """Add to both sums. Kept in float64, in which counts stay exact."""
        part = torch.stack((numerator.detach().double(), torch.full_like(numerator, denominator, dtype=torch.float64)))
        self.last = (part[0] / part[1]).float()
        self._sums = part if self._sums is None else self._sums + part
        self._update_count += 1

    def ratio(self) -> tuple[float, float]:
        """This rank's numerator and denominator."""
        if self._sums is None:
            return 0.0, 0.0
        numerator, denominator = self._sums.tolist()
        return numerator, denominator

    def compute(self) -> Tensor:
        """The value over all ranks and batches since :meth:`reset`; NaN where there were none. A collective call."""
        on_gpus = dist.is_initialized() and "nccl" in dist.get_backend()
        device = torch.device("cuda", torch.cuda.current_device()) if on_gpus else torch.device("cpu")
        sums = torch.zeros(2, dtype=torch.float64) if self._sums is None else self._sums
        sums = sums.to(device, copy=True)
        if dist.is_initialized():
            dist.all_reduce(sums)
        numerator, denominator = sums.tolist()
        return torch.tensor(numerator / denominator if denominator else math.nan)

    def reset(self) -> None:
        """Forget everything."""
        self._sums = self.last = None
        self._update_count = 0

    @property
    def update_count(self) -> int:
        """Calls of :meth:`update` since :meth:`reset`."""
        return self._update_count

    @property
    def metric_state(self) -> dict[str, Tensor]:
        """Both sums in one tensor of shape ``(2,)``, by the name of the attribute; empty where there are none."""
        return {} if self._sums is None else {"_sums": self._sums}

    def merge_state(self, incoming_state: dict[str, Tensor]) -> None:
        """Add what another metric of this kind has taken in."""
        theirs = incoming_state["_sums"]
        self._sums = theirs if self._sums is None else self._sums + theirs


class Accuracy(Metric):
    """Share of samples whose prediction is the target."""

    def update(self, predictions: Tensor, target: Tensor) -> None:
        """``predictions``: classes of the target's shape, or scores with one more dimension, dimension 1."""
        if predictions.dim() == target.dim() + 1:
            predictions = predictions.argmax(dim=1)
        if predictions.shape != target.shape:
            raise ValueError(f"predictions of shape {tuple(predictions.shape)} for a target of {tuple(target.shape)}")
        self.add((predictions == target).sum(), target.numel())


class Mean(Metric):
    """Weighted mean of values."""

    def update(self, value: Tensor | float, weight: float = 1) -> None:
        """``value``: a number, or a tensor, of which each element counts ``weight``."""
        values = torch.as_tensor(value, dtype=torch.float64)
        self.add(values.sum() * weight, values.numel() * weight)
