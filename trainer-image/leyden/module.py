"""``LightningModule``: model, steps and optimizers in one class, driven by a :class:`leyden.Trainer`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from leyden.errors import MisconfigurationError, one_of, only_weights
from leyden.hooks import DataHooks
from leyden.hparams import HyperparametersMixin
from leyden.module_hooks import ModuleHooks
from leyden.module_logging import ModuleLogging
from leyden.optim import LightningOptimizer, clip, explain_backward

if TYPE_CHECKING:
    from pathlib import Path

    from leyden.trainer import Trainer


class LightningModule(HyperparametersMixin, ModuleLogging, ModuleHooks, DataHooks, nn.Module):
    """An ``nn.Module`` that also says how it is trained, validated, tested and asked for predictions.

    Override ``training_step`` and ``configure_optimizers`` to train; ``validation_step``, ``test_step``,
    ``predict_step`` and any hook as needed. ``automatic_optimization = False`` leaves ``backward`` and
    ``optimizer.step()`` to ``training_step``.
    """

    example_input_array: Any = None
    """Input of ``forward``: a tensor, or a tuple or dict of arguments. Gives a checkpoint its signature."""

    strict_loading: bool = True

    automatic_optimization: bool = True

    __jit_ignored_attributes__: ClassVar[list[str]] = ["example_input_array"]
    __jit_unused_properties__: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        self._trainer: Trainer | None = None

    # Where the module is in a run.

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_trainer": None}  # a copy, or what is pickled, is the module alone

    @property
    def trainer(self) -> Trainer:
        """The trainer that runs this module."""
        if self._trainer is None:
            raise RuntimeError(
                f"{type(self).__qualname__} is not attached to a Trainer: call trainer.fit(module) first"
            )
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        self._trainer = trainer
        for child in self.children():
            if isinstance(child, LightningModule):
                child.trainer = trainer

    @property
    def device(self) -> torch.device:
        """The device of the module's first parameter or buffer; the run's where it has none."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return self._trainer.strategy.device if self._trainer is not None else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the module's first floating point parameter."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())

    @property
    def device_mesh(self) -> Any:
        """The strategy's device mesh, where it has one."""
        return getattr(self.trainer.strategy, "device_mesh", None)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def current_epoch(self) -> int:
        """Epochs that are done; 0 without a trainer."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Optimizer steps taken, over all optimizers; 0 without a trainer."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def logger(self) -> Any:
        """The first logger, or ``None``."""
        return self._trainer.logger if self._trainer is not None else None

    @property
    def loggers(self) -> list[Any]:
        return self._trainer.loggers if self._trainer is not None else []

    # What a user overrides.

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor | Mapping[str, Any] | None:
        """``(batch, batch_idx)`` -> the loss, a dict with ``loss``, or ``None`` to skip the batch."""

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch, batch_idx[, dataloader_idx])``; the value goes to ``on_validation_batch_end``."""

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch, batch_idx[, dataloader_idx])``; the value goes to ``on_test_batch_end``."""

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch, batch_idx[, dataloader_idx])`` -> the prediction. Default: ``self(batch)``."""
        return self(kwargs.get("batch", args[0] if args else None))

    def configure_model(self) -> None:
        """Create large layers here, once per run and after the process group exists."""

    def configure_callbacks(self) -> Any:
        """Callbacks of this module; one of a class that the trainer has already takes that one's place."""
        return []

    def configure_optimizers(self) -> Any:
        """One optimizer, several, ``([optimizers], [schedulers])``, a dict with ``optimizer`` and ``lr_scheduler``,
        a list of such dicts, or ``None``."""

    # Optimization, in the order of a step.

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """One step of the optimizer; the closure runs ``training_step``, ``zero_grad`` and ``backward``."""
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        optimizer.zero_grad()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        try:
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch has no types here
        except RuntimeError as error:
            explain_backward(loss, error)
            raise

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients before the step. Default: :meth:`clip_gradients` with the trainer's settings."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of an optimizer's parameters by ``"norm"`` or ``"value"``.

        Defaults: the Trainer's, which what is given must not contradict, and ``"norm"``.
        """
        limit = self._as_trainer_has_it("gradient_clip_val", gradient_clip_val)
        clip(optimizer, limit, self._as_trainer_has_it("gradient_clip_algorithm", gradient_clip_algorithm) or "norm")

    def _as_trainer_has_it(self, field: str, given: Any) -> Any:
        asked = getattr(self.trainer, field)
        if given is not None and asked not in (None, given):
            raise MisconfigurationError(f"clip_gradients({field}={given!r}) contradicts Trainer({field}={asked!r})")
        return asked if given is None else given

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """One step of a scheduler; ``metric`` is given where it monitors one."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or the list of several. Their ``step()`` counts and calls hooks unless told otherwise."""
        found: list[LightningOptimizer] = self.trainer.lightning_optimizers
        chosen = [optimizer if use_pl_optimizer else optimizer.optimizer for optimizer in found]
        return chosen[0] if len(chosen) == 1 else chosen

    def lr_schedulers(self) -> Any:
        """The scheduler, the list of several, or ``None``."""
        found = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        if not found:
            return None
        return found[0] if len(found) == 1 else found

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """``backward`` for manual optimization: with precision, distribution and hooks taken care of."""
        if self.automatic_optimization:
            raise MisconfigurationError(
                "manual_backward() needs self.automatic_optimization = False in the module's __init__"
            )
        self.trainer.run_backward(loss, *args, **kwargs)

    def toggle_optimizer(self, optimizer: Any) -> None:
        """Let no other optimizer's parameters require gradients, until :meth:`untoggle_optimizer`."""
        chosen = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        groups = [group for one in self.trainer.optimizers for group in one.param_groups]
        self._toggled = {parameter: parameter.requires_grad for group in groups for parameter in group["params"]}
        for parameter, required in self._toggled.items():
            parameter.requires_grad = parameter in chosen and required

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """Undo :meth:`toggle_optimizer`."""
        for parameter, required in self.__dict__.pop("_toggled", {}).items():
            parameter.requires_grad = required

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        """:meth:`toggle_optimizer` for the body."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    # Across ranks.

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0 only."""
        if self.global_rank == 0:
            print(*args, **kwargs)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """The tensors of all ranks, stacked in a new first dimension where there are several ranks.

        ``data`` may be a collection of tensors and numbers; what is neither stays.
        """
        return self.trainer.strategy.all_gather(data, group, sync_grads)

    # Weights.

    def freeze(self) -> Self:
        """No parameter requires gradients any more, and the module is in evaluation mode. Returns itself."""
        return self.requires_grad_(False).eval()

    def unfreeze(self) -> Self:
        """All parameters require gradients, and the module is in training mode. Returns itself."""
        return self.requires_grad_(True).train()

    # Exports; each is checked against the module on batches of several sizes, and leaves the module as it was.

    def to_exported(self, file_path: Any = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """``forward`` as a ``torch.export.ExportedProgram`` with a free batch size, on the CPU, and as a ``.pt2`` file.

        ``file_path`` is a path or an open binary file; ``input_sample`` is by default ``example_input_array``, and in a
        run what ``forward`` has seen. ``kwargs`` go to ``torch.export.export``. Raises ``ExportFailed``.
        """
        from leyden.export import export

        return export(self, "exported", input_sample, file_path, **kwargs)

    def to_onnx(self, file_path: Any = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """``forward`` as a ``torch.onnx.ONNXProgram`` and as one ``.onnx`` file, named like the checkpoint's signature.

        Arguments as of :meth:`to_exported`; ``kwargs`` go to ``torch.onnx.export``.
        """
        from leyden.export import export

        return export(self, "onnx", input_sample, file_path, **kwargs)

    def to_torchscript(
        self, file_path: Any = None, method: str = "script", example_inputs: Any = None, **kwargs: Any
    ) -> Any:
        """``forward`` as a ``torch.jit.ScriptModule``, by ``"script"`` or ``"trace"``, and as a file.

        Other arguments as of :meth:`to_exported`. A script of a module whose inputs nobody knows is not checked.
        """
        from leyden.export import export

        if method not in ("script", "trace"):
            raise one_of("method", method, ("script", "trace"))
        return export(self, "torchscript", example_inputs, file_path, method=method, **kwargs)

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """The module of a checkpoint, with its weights.

        ``checkpoint_path`` is a checkpoint directory, a directory of such (the newest is taken), or a single
        ``.ckpt`` file of Leyden or Lightning, also one that is open. ``kwargs`` replace stored constructor arguments.
        Files are always read with ``weights_only=True``, so that nothing in them can run.
        """
        from leyden.checkpoint.loading import load_module

        only_weights(weights_only)
        if hparams_file is not None:
            raise MisconfigurationError("hparams_file is not supported: give the arguments to load_from_checkpoint")
        return load_module(cls, checkpoint_path, map_location, strict, kwargs)


LightningModule.__jit_unused_properties__ = [  # TorchScript would compile them otherwise
    name for name, _ in inspect.getmembers(LightningModule, lambda member: isinstance(member, property))
]
