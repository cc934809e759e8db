"""FSDP2: parameters, gradients and optimizer states are cut into shards, and layers are gathered while they compute."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from leyden.errors import bad_value, one_of
from leyden.hooks import overrides
from leyden.strategies.distributed import TIMEOUT, DistributedStrategy, check_options

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
STATE_DICT_TYPES = ("full", "sharded")
WRAP_FROM = 1_000_000
"""Parameters from which on a layer is a shard of its own by default."""


class FSDPStrategy(DistributedStrategy):
    """One process per device, each with a shard of the module, by torch's ``fully_shard``.

    ``auto_wrap_policy`` says which layers are gathered and freed on their own: a collection of their classes, or the
    number of parameters from which on; what is left belongs to the module as a whole. With
    ``state_dict_type="sharded"`` each rank writes its own part of a checkpoint directory, which all ranks must see;
    ``"full"`` gathers on rank 0, as single files always do. Both resume at any world size, with any strategy.

    ``options`` go to ``fully_shard``, as ``mp_policy``, ``offload_policy`` or ``reshard_after_forward``. With mixed
    precision parameters and what is sent stay in float32 unless an ``mp_policy`` says otherwise.
    """

    precisions = ("64-true", "32-true", "bf16-mixed", "bf16-true", "16-true")
    forward_is_collective = True
    shards_weights = True

    def __init__(
        self,
        auto_wrap_policy: Collection[type[nn.Module]] | int = WRAP_FROM,
        state_dict_type: str = "full",
        process_group_backend: str | None = None,
        timeout: timedelta | None = TIMEOUT,
        **options: Any,
    ) -> None:
        from torch.distributed.fsdp import fully_shard

        super().__init__(process_group_backend, timeout)
        _check_policy(auto_wrap_policy)
        if state_dict_type not in STATE_DICT_TYPES:
            raise one_of("state_dict_type", state_dict_type, STATE_DICT_TYPES)
        self.shards_checkpoints = state_dict_type == "sharded"
        self.auto_wrap_policy = auto_wrap_policy
        check_options(options, fully_shard, "FSDPStrategy")
        self._options = options
        self._module: Any = None

    def place(self, module: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        if not isinstance(module, FSDPModule):
            # As DDP does it: shards of different weights would make no module.
            self.send_from_rank_0((*module.parameters(), *module.buffers()))
            options = {"mesh": init_device_mesh(self.device.type, (self.world_size,)), **self._options}
            for layer in layers_to_wrap(module, self.auto_wrap_policy):
                fully_shard(layer, **options)
            original = type(module)
            fully_shard(module, **options)
            # It has a class of its own now, and goes by the user's in manifests and messages as before.
            type(module).__module__, type(module).__qualname__ = original.__module__, original.__qualname__
            for name in STEPS:
                if not overrides(module, name):
                    continue
                signature = inspect.signature(getattr(type(module), name))
                register_fsdp_forward_method(module, name)
                getattr(module, name).__func__.__signature__ = signature  # which the loops read
        super().place(module)

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        self._module = module
        return super().wrap(module)

    def release(self, module: nn.Module, optimizers: Iterable[Optimizer]) -> None:
        """The shards stay where they are, for only there can they be gathered."""
        self._module = None

    def no_sync(self) -> AbstractContextManager[None]:
        return _without_sync(self._module)

    def whole(self, state: Any) -> Any:
        gathered = _whole(state)
        if hasattr(state, "_metadata"):  # what a module's state says beside its tensors
            gathered._metadata = state._metadata
        return gathered

    def load_model_state(self, module: nn.Module, state: dict[str, Any], strict: bool) -> None:
        mine, shards = module.state_dict(), copy.copy(state)
        for name, value in state.items():
            shards[name] = _shard_like(mine.get(name), value)
        super().load_model_state(module, shards, strict)

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        shards = {
            index: {name: _shard_like(parameters[index], value) for name, value in values.items()}
            for index, values in state.get("state", {}).items()
        }
        optimizer.load_state_dict({**state, "state": shards} if state else state)

    def placed(self, whole: Tensor, like: Tensor) -> Tensor:
        shard: Tensor = _shard_like(like, super().placed(whole, like))
        return shard


def _check_policy(policy: Any) -> None:
    by_class = isinstance(policy, Collection) and all(isinstance(kind, type) for kind in policy)
    by_size = isinstance(policy, int) and not isinstance(policy, bool) and policy >= 1
    if isinstance(policy, str) or not (by_class or by_size):
        raise bad_value(
            "auto_wrap_policy", policy, "a set of layer classes, or a number of parameters from which on a layer counts"
        )


def layers_to_wrap(module: nn.Module, policy: Collection[type[nn.Module]] | int) -> list[nn.Module]:
    """The layers below ``module`` that are gathered on their own, inner ones first."""
    chosen: list[nn.Module] = []

    def visit(layer: nn.Module) -> int:
        """Parameters of a layer that are in no chosen one."""
        left = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        left += sum(visit(child) for child in layer.children())
        fits = left >= policy if isinstance(policy, int) else isinstance(layer, tuple(policy))
        if layer is module or not fits or isinstance(layer, (nn.ModuleList, nn.ModuleDict)) or layer in chosen:
            return left
        chosen.append(layer)
        return 0

    visit(module)
    return chosen


@contextmanager
def _without_sync(module: Any) -> Iterator[None]:
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


def _whole(state: Any) -> Any:
    """Sharded tensors as whole ones on the CPU. All ranks take part, and those that do not write let go at once."""
    from torch.distributed.tensor import DTensor

    keeps = dist.get_rank() == 0
    nothing = torch.empty(0)

    def gather(shard: Any) -> Tensor:
        whole: Tensor = shard.full_tensor().cpu()
        return whole if keeps else nothing

    return tree_map_only(DTensor, gather, state)


def _shard_like(mine: Any, value: Any) -> Any:
    """This rank's shard of a whole tensor, where ``mine`` is sharded and of its shape."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(mine, DTensor) or not isinstance(value, Tensor) or value.shape != mine.shape:
        return value
    there = value.to(mine.device)
    return distribute_tensor(there, mine.device_mesh, mine.placements, src_data_rank=None)
