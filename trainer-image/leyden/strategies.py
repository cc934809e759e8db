"""Where a run computes, and how its processes work together: one device, or DDP over gloo or NCCL."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from leyden.errors import MisconfigurationError, bad_value, one_of
from leyden.logs import Contribution, merge

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
DDP_NAMES = ("ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
STRATEGY_NAMES = ("auto", "single_device", *DDP_NAMES)
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """This process's place among all, as torchrun and Leyden's agent say it."""

    global_rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> World:
        """Read the launcher's variables; without them this process is alone."""
        if any(name not in os.environ for name in LAUNCHER_VARIABLES):
            return cls()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return cls(int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"]), local)


class Strategy:
    """One process on one device. Collective calls are then the identity."""

    def __init__(self, device: torch.device, world: World):
        self.device = device
        self.world = world
        self.control: dist.ProcessGroup | None = None
        """A gloo group for small messages on the CPU, also where tensors travel by NCCL."""

    @property
    def global_rank(self) -> int:
        return self.world.global_rank

    @property
    def world_size(self) -> int:
        return self.world.world_size

    @property
    def root_device(self) -> torch.device:
        return self.device

    @property
    def is_global_zero(self) -> bool:
        return self.world.global_rank == 0

    def connect(self) -> None:
        """Join the other processes."""

    def disconnect(self) -> None:
        """Let go of what a run needed. The processes stay connected for the next."""

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        """What runs ``training_step`` so that gradients are averaged over ranks."""
        step: Callable[..., Any] = module.training_step  # type: ignore[assignment]  # every LightningModule has it
        return step

    def no_sync(self) -> AbstractContextManager[None]:
        """A context in which ``backward`` keeps gradients to this rank."""
        return nullcontext()

    def before_manual_backward(self, loss: Tensor) -> None:
        """Prepare for a ``backward`` that is not the only one of its step."""

    def reduce(self, value: Any, op: str) -> Any:
        """One value of all ranks by mean, sum, min or max."""
        return value

    def gather_objects(self, value: Any) -> list[Any]:
        """The plain values of all ranks, by rank."""
        return [value]

    def broadcast_object(self, value: Any) -> Any:
        """Rank 0's value."""
        return value

    def barrier(self) -> None:
        """Wait for all ranks."""

    def all_gather(self, data: Any, sync_grads: bool = False) -> Any:
        """Tensors of all ranks, stacked; nested lists and dicts are walked."""
        if isinstance(data, dict):
            return {key: self.all_gather(value, sync_grads) for key, value in data.items()}
        if isinstance(data, (list, tuple)):
            return type(data)(self.all_gather(value, sync_grads) for value in data)
        return self._all_gather(torch.as_tensor(data, device=self.device), sync_grads)

    def _all_gather(self, tensor: Tensor, sync_grads: bool) -> Tensor:
        return tensor.unsqueeze(0)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _TrainingStep(nn.Module):
    """``training_step`` as a ``forward``, which is what DDP watches."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.training_step(*args, **kwargs)  # type: ignore[operator]  # a LightningModule's method


class DDPStrategy(Strategy):
    """One process per device, gradients averaged in buckets: gloo on CPUs, NCCL on CUDA devices."""

    def __init__(self, device: torch.device, world: World, find_unused_parameters: bool = False):
        super().__init__(device, world)
        self.find_unused_parameters = find_unused_parameters
        self.process_group_backend = "nccl" if device.type == "cuda" else "gloo"
        self._wrapped: DistributedDataParallel | None = None
        self._manual = False

    def connect(self) -> None:
        if not dist.is_initialized():
            device = self.device if self.device.type == "cuda" else None
            dist.init_process_group(self.process_group_backend, timeout=TIMEOUT, device_id=device)
            # Not at the end of each run: the next run of this process (a test after a fit) needs it again, and a rank
            # that opens it while another still closes it would meet a broken connection.
            atexit.register(_leave_group)
        if self.control is None:
            group = dist.new_group(backend="gloo", timeout=TIMEOUT)
            assert isinstance(group, dist.ProcessGroup), "every rank is in it"
            self.control = group

    def disconnect(self) -> None:
        self._wrapped = None

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return super().wrap(module)
        ids = [self.device.index] if self.device.type == "cuda" else None
        self._wrapped = DistributedDataParallel(
            _TrainingStep(module), device_ids=ids, find_unused_parameters=self.find_unused_parameters
        )
        self._manual = not module.automatic_optimization
        if self._manual:
            # Otherwise DDP would expect exactly one backward for each forward.
            self._wrapped.require_backward_grad_sync = False
        return self._wrapped

    def no_sync(self) -> AbstractContextManager[None]:
        return self._wrapped.no_sync() if self._wrapped is not None else nullcontext()

    def before_manual_backward(self, loss: Tensor) -> None:
        if self._wrapped is not None and self._manual:
            outputs = [loss] if self.find_unused_parameters else []
            self._wrapped.require_forward_param_sync = True
            self._wrapped.reducer.prepare_for_backward(outputs)

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


def choose_device(accelerator: str, local_rank: int) -> torch.device:
    """The device of this process."""
    if accelerator not in ACCELERATORS:
        raise one_of("accelerator", accelerator, ACCELERATORS)
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise bad_value("accelerator", accelerator, "'cpu' or 'auto' on this machine: torch finds no CUDA device")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def choose_strategy(name: Any, accelerator: str, devices: Any, num_nodes: int) -> Strategy:
    """The strategy for a Trainer's arguments and the launcher's environment."""
    if isinstance(name, Strategy):
        return name
    if name not in STRATEGY_NAMES:
        raise one_of("strategy", name, STRATEGY_NAMES)
    world = World.from_environment()
    _check_devices(devices, num_nodes, world)
    device = choose_device(accelerator, world.local_rank)
    launched = all(variable in os.environ for variable in LAUNCHER_VARIABLES)
    if name == "single_device" and world.world_size > 1:
        raise bad_value("strategy", name, f"'auto' or 'ddp' with {world.world_size} processes")
    if world.world_size > 1 or (name in DDP_NAMES and launched):
        return DDPStrategy(device, world, find_unused_parameters=str(name).endswith("_true"))
    return Strategy(device, world)


def _check_devices(devices: Any, num_nodes: Any, world: World) -> None:
    if not isinstance(num_nodes, int) or num_nodes < 1:
        raise bad_value("num_nodes", num_nodes, "an integer of at least 1")
    count = len(devices) if isinstance(devices, (list, tuple)) else devices
    if count in ("auto", -1, "-1"):
        return
    if not str(count).isdigit() or int(count) < 1:
        raise bad_value("devices", devices, "'auto', a number of at least 1, or a list of device indices")
    if int(count) != world.local_world_size:
        raise MisconfigurationError(
            f"devices={devices!r} does not fit: this node runs {world.local_world_size} process(es); start one per "
            f"device with `torchrun --nproc-per-node={count}`, or leave devices='auto'"
        )
