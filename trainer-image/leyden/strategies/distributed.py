"""Processes that work together by messages: gloo on CPUs, NCCL on CUDA devices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from leyden import rng
from leyden.errors import bad_value, one_of
from leyden.logs import Contribution, merge
from leyden.strategies import groups
from leyden.strategies.base import Strategy

TIMEOUT = timedelta(minutes=30)


def accepted(options: dict[str, Any], function: Callable[..., Any], owner: str) -> dict[str, Any]:
    """Options that are handed on to torch, once their names are known to fit."""
    import inspect

    known = [name for name in inspect.signature(function).parameters if name not in ("self", "module")]
    for name in options:
        if name not in known:
            raise one_of(f"{owner} argument", name, known)
    return options


class DistributedStrategy(Strategy):
    """One process per device in one process group."""

    def __init__(self, process_group_backend: str | None = None, timeout: timedelta | None = TIMEOUT):
        super().__init__()
        self._backend = process_group_backend
        self._timeout = timeout or TIMEOUT
        self._sync_batchnorm = False

    @property
    def control(self) -> dist.ProcessGroup | None:
        return groups.control()

    @property
    def process_group_backend(self) -> str:
        """gloo on CPUs, NCCL on CUDA devices, or what the user chose."""
        return self._backend or ("nccl" if self.device.type == "cuda" else "gloo")

    def connect(self) -> None:
        if self.siblings is not None:
            siblings, self.siblings = self.siblings, None
            siblings.launch()
        device = self.device if self.device.type == "cuda" else None
        groups.join(self.process_group_backend, self._timeout, device, self.world_size)
        rng.seed_again()  # ranks that came here by different ways go on alike

    def synchronize_batchnorm(self, wanted: bool) -> None:
        if wanted and self.device.type == "cpu":
            raise bad_value("sync_batchnorm", wanted, "False on CPUs: torch synchronises it on CUDA devices only")
        self._sync_batchnorm = wanted

    def place(self, module: nn.Module) -> None:
        if self._sync_batchnorm:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch has no types here
        super().place(module)

    def reduce(self, value: Any, op: str) -> Any:
        mine: Contribution = (op, float(value), 1.0)
        return torch.tensor(merge(self.gather_objects(mine)), device=self.device)

    def gather_objects(self, value: Any) -> list[Any]:
        everyone: list[Any] = [None] * self.world_size
        dist.all_gather_object(everyone, value, group=self.control)
        return everyone

    def broadcast_object(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def barrier(self) -> None:
        dist.barrier(group=self.control)

    def _all_gather(self, tensor: Tensor, sync_grads: bool) -> Tensor:
        if sync_grads and tensor.requires_grad:
            from torch.distributed.nn.functional import all_gather

            return torch.stack(all_gather(tensor))  # type: ignore[no-untyped-call]  # torch has no types here
        everyone = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(everyone, tensor.contiguous())
        return torch.stack(everyone)
