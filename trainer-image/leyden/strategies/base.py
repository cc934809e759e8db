"""What a run asks of the place where it computes. One process on one device answers most of it by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from numbers import Number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from leyden import nested
from leyden.checkpoint.weights import load_weights
from leyden.environments import World
from leyden.errors import MisconfigurationError, bad_value, one_of

if TYPE_CHECKING:
    from leyden.checkpoint.io import CheckpointIO
    from leyden.launch import Siblings

REDUCTIONS = ("mean", "avg", "sum", "min", "max", "product")


class Strategy:
    """One process on one device. Collective calls are then the identity."""

    precisions: tuple[str, ...] | None = None
    """Those that it can keep; ``None``: all."""

    shards_weights = False
    """Whether a rank holds parts of the module's parameters only."""

    shards_checkpoints = False
    """Whether each rank writes its own part of a checkpoint directory."""

    forward_is_collective = False
    """Whether all ranks must call ``forward`` equally often, evaluating or not."""

    checkpoint_io: CheckpointIO
    """How single-file checkpoints get to storage; the Trainer sets it."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.device_ids = [0]
        """Of the devices of this node that the run uses."""
        self.world = World()
        self.siblings: Siblings | None = None
        """The other ranks of this node, where this process is to start them."""

    @property
    def control(self) -> dist.ProcessGroup | None:
        """A gloo group for small messages on the CPU, also where tensors travel by NCCL."""
        return None

    @property
    def global_rank(self) -> int:
        return self.world.global_rank

    @property
    def local_rank(self) -> int:
        return self.world.local_rank

    @property
    def world_size(self) -> int:
        return self.world.world_size

    @property
    def root_device(self) -> torch.device:
        return self.device

    @property
    def is_global_zero(self) -> bool:
        return self.world.global_rank == 0

    def check_precision(self, name: str) -> None:
        """Raise ``MisconfigurationError`` where a run cannot have this precision."""
        if self.precisions is not None and name not in self.precisions:
            raise bad_value("precision", name, f"one of {', '.join(self.precisions)} with {type(self).__name__}")

    def synchronize_batchnorm(self, wanted: bool) -> None:
        """Whether batch norm layers take their statistics over all ranks. Raises ``MisconfigurationError``."""

    def connect(self) -> None:
        """Join the other processes."""

    def release(self, module: nn.Module, optimizers: Iterable[Optimizer]) -> None:
        """Let go of what a run needed: the module and its optimizers' states go back to the CPU.

        May be called again. The processes stay connected for the next run.
        """
        if self.device.type == "cpu":
            return
        for optimizer in optimizers:
            for parameter, state in optimizer.state.items():
                optimizer.state[parameter] = nested.move(state, "cpu")
        module.cpu()

    def place(self, module: nn.Module) -> None:
        """Bring the module to this process's device, before its weights are loaded and its optimizers made."""
        module.to(self.device)

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        """What runs ``training_step`` so that gradients are averaged over ranks."""
        step: Callable[..., Any] = module.training_step  # type: ignore[assignment]  # every LightningModule has it
        return step

    def no_sync(self) -> AbstractContextManager[None]:
        """A context in which ``backward`` keeps gradients to this rank."""
        return nullcontext()

    def before_manual_backward(self, loss: Tensor) -> None:
        """Prepare for a ``backward`` that is not the only one of its step."""

    def share_weights(self, module: nn.Module) -> None:
        """Rank 0's parameters and buffers on all ranks, ahead of an evaluation. A collective call."""

    def share_buffers(self, module: nn.Module) -> None:
        """Let every rank evaluate with rank 0's buffers, as of batch norm: a checkpoint has them. A collective call."""

    # A checkpoint gives whole tensors, whatever the ranks hold.

    def whole(self, state: Any) -> Any:
        """State with whole tensors on the CPU, where it is sharded. A collective call, for rank 0 alone."""
        return state

    def load_model_state(self, module: nn.Module, state: dict[str, Any], strict: bool) -> None:
        """Whole tensors into the module. Raises ``CheckpointMismatch``."""
        load_weights(module, state, strict)

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Whole tensors into the optimizer."""
        optimizer.load_state_dict(state)

    def placed(self, whole: Tensor, like: Tensor) -> Tensor:
        """What this rank holds of a whole tensor, if it is one as ``like``."""
        return whole.to(like.device)

    # Between ranks.

    def reduce_number(self, value: Any, op: str) -> Any:
        """One number of all ranks by mean, sum, min or max."""
        return value

    def gather_objects(self, value: Any) -> list[Any]:
        """The plain values of all ranks, by rank."""
        return [value]

    # The same by Lightning's names, for callbacks and modules.

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """A plain value of one rank, for all."""
        return obj

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""

    def reduce(self, tensor: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Tensors of one shape on all ranks, element by element, by one of ``REDUCTIONS``. Others stay as they are.

        ``group``: only over a process group's ranks. Raises ``MisconfigurationError``.
        """
        if reduce_op not in REDUCTIONS:
            raise one_of("reduce_op", reduce_op, REDUCTIONS)
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Whether all ranks decided so, or any of them did."""
        return bool(decision)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Tensors and numbers of all ranks, stacked where there are several; collections of them are walked."""
        if group is not None:
            raise MisconfigurationError(
                "all_gather() is over all ranks: for a group, call torch.distributed.all_gather()"
            )

        def gathered(leaf: Any) -> Any:
            if not isinstance(leaf, (Tensor, Number)) and not hasattr(leaf, "__array__"):
                return leaf
            return self._all_gather(torch.as_tensor(leaf, device=self.device), sync_grads)

        return tree_map(gathered, data)

    def _all_gather(self, tensor: Tensor, sync_grads: bool) -> Tensor:
        return tensor


class SingleDeviceStrategy(Strategy):
    """One process on one device, whatever else is there."""
