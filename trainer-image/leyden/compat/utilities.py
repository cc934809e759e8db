"""What ``lightning.pytorch.utilities`` and ``lightning.fabric.utilities`` are imported for."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager
from enum import StrEnum
from os import PathLike
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from leyden.callbacks import Callback
from leyden.combined import CombinedLoader
from leyden.data import LightningDataModule
from leyden.errors import MisconfigurationError as MisconfigurationException
from leyden.errors import SIGTERMException, bad_value
from leyden.hooks import overrides
from leyden.hparams import AttributeDict, frame_arguments
from leyden.module import LightningModule
from leyden.nested import move
from leyden.rank_zero import rank_zero_only
from leyden.rng import isolated, seed_everything
from leyden.tuner.tuning import out_of_memory

__all__ = [
    "AttributeDict",
    "CombinedLoader",
    "GradClipAlgorithmType",
    "MisconfigurationException",
    "PossibleUserWarning",
    "SIGTERMException",
    "WarningCache",
    "disable_possible_user_warnings",
    "garbage_collection_cuda",
    "get_filesystem",
    "get_init_args",
    "grad_norm",
    "is_oom_error",
    "is_overridden",
    "isolate_rng",
    "measure_flops",
    "move_data_to_device",
    "rank_prefixed_message",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
    "sized_len",
    "suggested_max_num_workers",
]


class PossibleUserWarning(UserWarning):
    """For programs that silence Lightning's warnings of what may be meant."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Silence :class:`PossibleUserWarning` from modules whose names match."""
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)


@rank_zero_only
def rank_zero_warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 4) -> None:
    """A warning on rank 0."""
    warnings.warn(message, category, stacklevel)


@rank_zero_only
def rank_zero_deprecation(message: str, stacklevel: int = 5) -> None:
    """A warning of the kind that developers see, on rank 0."""
    warnings.warn(message, DeprecationWarning, stacklevel)


@rank_zero_only
def rank_zero_info(*args: Any) -> None:
    """Print on rank 0."""
    print(*args, flush=True)


@rank_zero_only
def rank_zero_debug(*args: Any) -> None:
    """A line for developers, on rank 0."""
    logging.getLogger("leyden").debug(*args, stacklevel=3)


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """The message with the rank that it is from."""
    return message if rank is None else f"[rank: {rank}] {message}"


class WarningCache(set[str]):
    """Warnings that were given, none of them twice."""

    def warn(self, message: str, stacklevel: int = 5, **kwargs: Any) -> None:
        """A warning on rank 0, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_warn(message, stacklevel=stacklevel, **kwargs)

    def deprecation(self, message: str, stacklevel: int = 6) -> None:
        """The same for developers."""
        if message not in self:
            self.add(message)
            rank_zero_deprecation(message, stacklevel=stacklevel)

    def info(self, message: str) -> None:
        """Print on rank 0, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_info(message)


class GradClipAlgorithmType(StrEnum):
    """Values of ``gradient_clip_algorithm``."""

    VALUE = "value"
    NORM = "norm"


def garbage_collection_cuda() -> None:
    """Give back what nothing refers to, on the GPU too."""
    gc.collect()
    torch.cuda.empty_cache()


def grad_norm(module: nn.Module, norm_type: float | int | str, group_separator: str = "/") -> dict[str, Tensor]:
    """Norms of the gradients by parameter, and of all together; for ``self.log_dict`` in a hook after ``backward``."""
    kind = float(norm_type)
    if kind <= 0:
        raise bad_value("norm_type", norm_type, "above 0, or 'inf'")
    gradients = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    norms = {name: torch.linalg.vector_norm(gradient, kind) for name, gradient in gradients.items()}
    found = {f"grad_{kind}_norm{group_separator}{name}": norm for name, norm in norms.items()}
    if norms:
        found[f"grad_{kind}_norm_total"] = torch.linalg.vector_norm(torch.stack(list(norms.values())), kind)
    return found


def get_init_args(frame: FrameType) -> dict[str, Any]:
    """Arguments of the constructor that runs in a frame, by name."""
    return frame_arguments(frame)[1] if "__class__" in frame.f_locals else {}


def is_oom_error(exception: BaseException) -> bool:
    """Whether memory ran out, on a GPU or for torch on the CPU."""
    return out_of_memory(exception)


def is_overridden(method_name: str, instance: object | None = None, parent: type | None = None) -> bool:
    """Whether an object has a method of its own, instead of ``parent``'s, by default that of the kind it is of."""
    kinds = (LightningModule, LightningDataModule, Callback)
    base = parent or next((kind for kind in kinds if isinstance(instance, kind)), None)
    if instance is not None and base is None:
        raise bad_value("instance", type(instance).__qualname__, "a LightningModule, LightningDataModule or Callback")
    return instance is not None and overrides(instance, method_name, base)


def isolate_rng(include_cuda: bool = True) -> AbstractContextManager[None]:
    """Leave all generators as they were found."""
    return isolated(torch.device("cuda") if include_cuda and torch.cuda.is_available() else None)


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Tensor], loss_fn: Callable[[Tensor], Tensor] | None = None
) -> int:
    """Floating point operations of ``forward_fn()``, and of ``backward`` where there is a ``loss_fn``."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()  # type: ignore[no-untyped-call]  # torch has no types here
    total: int = counter.get_total_flops()
    return total


def move_data_to_device(batch: Any, device: torch.device | str | int) -> Any:
    """The batch with all its tensors on the device."""
    return move(batch, torch.device(device))


def suggested_max_num_workers(local_world_size: int) -> int:
    """Workers of a ``DataLoader`` that this machine has processors for, one of which each rank needs itself."""
    if local_world_size < 1:
        raise bad_value("local_world_size", local_world_size, "at least 1")
    return max(1, len(os.sched_getaffinity(0)) // local_world_size - 1)


def get_filesystem(path: str | PathLike[str], **kwargs: Any) -> Any:
    """The fsspec file system of a path or a URL, made with ``kwargs``."""
    from fsspec.core import url_to_fs

    return url_to_fs(str(path), **kwargs)[0]


def sized_len(dataloader: object) -> int | None:
    """Its length; ``None`` where it has none, as a loader of an iterable data set may not."""
    if not isinstance(dataloader, Sized):
        return None
    try:
        return len(dataloader)
    except (TypeError, NotImplementedError):  # a loader has the method whatever its data set has
        return None
