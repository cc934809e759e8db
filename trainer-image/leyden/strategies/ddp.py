"""DDP: every rank holds the whole module, and gradients are averaged in buckets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from leyden.errors import MisconfigurationError
from leyden.strategies.distributed import TIMEOUT, DistributedStrategy, accepted


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

    ``options`` go to ``DistributedDataParallel``, as ``find_unused_parameters`` or ``static_graph``. Gradients are
    views of the buckets that travel, which spares a copy of them in memory and in time; the next ``backward`` writes
    over them. ``gradient_as_bucket_view=False`` gives each parameter tensors of its own, as torch does by default.
    """

    def __init__(
        self, process_group_backend: str | None = None, timeout: timedelta | None = TIMEOUT, **options: Any
    ) -> None:
        super().__init__(process_group_backend, timeout)
        self._options = accepted(options, DistributedDataParallel.__init__, "DDPStrategy")
        self._wrapped: DistributedDataParallel | None = None
        self._manual = False

    @property
    def find_unused_parameters(self) -> bool:
        """Whether each ``backward`` first looks for parameters that it does not reach."""
        return bool(self._options.get("find_unused_parameters", False))

    def disconnect(self) -> None:
        self._wrapped = None

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return super().wrap(module)
        ids = [self.device.index] if self.device.type == "cuda" else None
        options = {"device_ids": ids, "gradient_as_bucket_view": True, **self._options}
        self._wrapped = _Averaged(_TrainingStep(module), **options)
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
