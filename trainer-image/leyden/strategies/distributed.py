"""Processes that work together by messages: gloo on CPUs, NCCL on CUDA devices."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from leyden import rng
from leyden.errors import bad_value, one_of
from leyden.reductions import Contribution, merge
from leyden.strategies import groups
from leyden.strategies.base import Strategy

TIMEOUT = timedelta(minutes=30)


def check_options(options: dict[str, Any], function: Callable[..., Any], owner: str) -> None:
    """Whether torch knows the options that are handed on to it, beside those that the strategy decides on."""
    known = [name for name in inspect.signature(function).parameters if name not in ("self", "module", "device_ids")]
    for name in options:
        if name not in known:
            raise one_of(f"{owner} argument", name, known)


class DistributedStrategy(Strategy):
    """One process per device in one process group."""

    def __init__(self, process_group_backend: str | None = None, timeout: timedelta | None = TIMEOUT):
        super().__init__()
        self._backend = process_group_backend
        self._timeout = timeout or TIMEOUT
        self._sync_batchnorm = False
        self._alone: dict[str, nn.Module] = {}
        """Batch norm layers of one process, whose place those of all processes have taken for a run."""

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
            self._alone = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
            nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch has no types here
        super().place(module)

    def _take_batchnorm_apart(self, module: nn.Module) -> None:
        """Put back the layers that :meth:`place` has replaced, with what they have learned since."""
        for name, layer in self._alone.items():
            together = module.get_submodule(name)
            layer._parameters, layer._buffers = together._parameters, together._buffers
            layer.training = together.training
            module.set_submodule(name, layer)
        self._alone = {}

    def share_buffers(self, module: nn.Module) -> None:
        self.send_from_rank_0(module.buffers())

    def send_from_rank_0(self, tensors: Iterable[Tensor]) -> None:
        """Rank 0's values into the tensors of all ranks. A collective call."""
        for tensor in tensors if self.world_size > 1 else ():
            if tensor.is_meta or not tensor.numel():
                continue
            values = tensor.detach().contiguous()
            group = self.control if tensor.device.type == "cpu" else None
            dist.broadcast(values.view(-1).view(torch.uint8), src=0, group=group)  # gloo does not know all types
            if values.data_ptr() != tensor.data_ptr() and not torch.equal(values, tensor):
                tensor.detach().copy_(values)

    def reduce_number(self, value: Any, op: str) -> Any:
        mine: Contribution = (op, float(value), 1.0)
        return torch.tensor(merge(self.gather_objects(mine)), dtype=torch.float32, device=self.device)

    def gather_objects(self, value: Any) -> list[Any]:
        everyone: list[Any] = [None] * self.world_size
        dist.all_gather_object(everyone, value, group=self.control)
        return everyone

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        box = [obj]
        dist.broadcast_object_list(box, src=src, group=self.control)
        return box[0]

    def barrier(self, name: str | None = None) -> None:
        dist.barrier(group=self.control)

    def reduce(self, tensor: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        reduced = super().reduce(tensor, group, reduce_op)
        if not isinstance(tensor, Tensor):
            return reduced
        reduced = tensor.detach().clone()
        mean = reduce_op in ("mean", "avg")
        group = group or (self.control if tensor.device.type == "cpu" else None)
        dist.all_reduce(reduced, getattr(dist.ReduceOp, "SUM" if mean else reduce_op.upper()), group=group)
        return (reduced / dist.get_world_size(group)).to(tensor.dtype) if mean else reduced

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        flag = torch.tensor(bool(decision), dtype=torch.uint8)
        dist.all_reduce(flag, dist.ReduceOp.MIN if all else dist.ReduceOp.MAX, group=self.control)
        return bool(flag)

    def _all_gather(self, tensor: Tensor, sync_grads: bool) -> Tensor:
        if sync_grads and tensor.requires_grad:
            from torch.distributed.nn.functional import all_gather

            return torch.stack(all_gather(tensor))  # type: ignore[no-untyped-call]  # torch has no types here
        everyone = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(everyone, tensor.contiguous())
        return torch.stack(everyone)
