"""DDP: every rank holds the whole module, and gradients are averaged in buckets."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from leyden.errors import MisconfigurationError
from leyden.strategies.distributed import TIMEOUT, DistributedStrategy, check_options


class _TrainingStep(nn.Module):
    """``training_step`` as a ``forward``, which is what DDP watches."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.training_step(*args, **kwargs)  # type: ignore[operator]  # a LightningModule's method


class _Averaged(DistributedDataParallel):
    """DDP that names the parameters which it waited for in vain."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().forward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch has no types here
        except RuntimeError as error:
            if "Expected to have finished reduction" not in str(error):
                raise
            module = self.module.module
            assert isinstance(module, nn.Module), "a _TrainingStep holds it"
            unused = [name for name, one in module.named_parameters() if one.requires_grad and one.grad is None]
            raise MisconfigurationError(
                f"the loss of the last batch does not depend on {', '.join(unused) or 'some parameters'}: let all "
                "parameters take part, or choose strategy='ddp_find_unused_parameters_true'"
            ) from error


class DDPStrategy(DistributedStrategy):
    """One process per device, each with the whole module: gloo on CPUs, NCCL on CUDA devices.

    ``options`` go to ``DistributedDataParallel``, as ``find_unused_parameters`` or ``static_graph``. With
    ``gradient_as_bucket_view=True`` gradients need no copy of their own, in memory and in time; a program must then not
    assign to ``parameter.grad.data``, since that parameter would be averaged no more. ``ddp_comm_hook``, with
    ``ddp_comm_state`` and wrapped by ``ddp_comm_wrapper``, sends gradients another way, as
    ``torch.distributed.algorithms.ddp_comm_hooks`` have it.
    """

    def __init__(
        self,
        process_group_backend: str | None = None,
        timeout: timedelta | None = TIMEOUT,
        ddp_comm_state: object = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(process_group_backend, timeout)
        self._hook = ddp_comm_hook if ddp_comm_wrapper is None else ddp_comm_wrapper(ddp_comm_hook)
        self._hook_state = ddp_comm_state
        check_options(options, DistributedDataParallel.__init__, "DDPStrategy")
        self._options = options
        self._wrapped: DistributedDataParallel | None = None
        self._step: Callable[..., Any] | None = None
        self._parameters: list[nn.Parameter] = []
        self._trained: list[bool] = []
        """Which of the parameters are averaged."""
        self._manual = False

    def release(self, module: nn.Module, optimizers: Iterable[Optimizer]) -> None:
        self._wrapped, self._step, self._parameters = None, None, []
        self._take_batchnorm_apart(module)
        super().release(module, optimizers)

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        self._parameters = list(module.parameters())
        self._manual = not module.automatic_optimization
        self._build(module)

        def step(*args: Any, **kwargs: Any) -> Any:
            if self._trained != [parameter.requires_grad for parameter in self._parameters]:
                self._build(module)
            assert self._step is not None, "it has just been built"
            return self._step(*args, **kwargs)

        return step

    def _build(self, module: nn.Module) -> None:
        """DDP averages those parameters that require gradients now, so it is made anew when that changes.

        A backbone that is thawed later would otherwise be trained by each rank for itself.
        """
        self._wrapped = self._step = None
        gc.collect()  # the hooks of the one before go with it
        self._trained = [parameter.requires_grad for parameter in self._parameters]
        if not any(self._trained):
            self._step = super().wrap(module)
            return
        ids = [self.device.index] if self.device.type == "cuda" else None
        self._wrapped = self._step = _Averaged(_TrainingStep(module), device_ids=ids, **self._options)
        if self._hook is not None:
            self._wrapped.register_comm_hook(self._hook_state, self._hook)
        if self._manual:
            # Otherwise DDP would expect exactly one backward for each forward.
            self._wrapped.require_backward_grad_sync = False

    def no_sync(self) -> AbstractContextManager[None]:
        return self._wrapped.no_sync() if self._wrapped is not None else nullcontext()

    def share_weights(self, module: nn.Module) -> None:
        self.send_from_rank_0((*module.parameters(), *module.buffers()))

    def share_buffers(self, module: nn.Module) -> None:
        if all(self._options.get(name) is not False for name in ("broadcast_buffers", "forward_sync_buffers")):
            super().share_buffers(module)

    def before_manual_backward(self, loss: Tensor) -> None:
        if self._wrapped is not None and self._manual:
            outputs = [loss] if self._options.get("find_unused_parameters") else []
            self._wrapped.require_forward_param_sync = True
            # DDP does this in forward, which comes once for any number of these.
            self._wrapped.reducer._rebuild_buckets()
            self._wrapped.reducer.prepare_for_backward(outputs)
