"""What a checkpoint may hold beside tensors: values whose types run nothing when they are built from a file.

torch reads containers, numbers and texts by itself. What is here is common in hyperparameters, in what programs put in
a checkpoint, and in the state of schedulers: ``math.cos`` gives a float, but ``numpy.cos`` a ``float64``.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import io
import pathlib
import pickle
import re
import sys
import types
import uuid
from contextlib import AbstractContextManager, suppress
from typing import IO, Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

NUMBERS = (type(None), bool, int, float, str, bytes, complex, torch.dtype, torch.device)
NAMESPACES = (argparse.Namespace, types.SimpleNamespace)
VALUES: tuple[type, ...] = (
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *(decimal.Decimal, fractions.Fraction, uuid.UUID, range, frozenset),
    *(pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath),
    *NAMESPACES,
)
NUMPY_KINDS = "?bhilqBHILQefdgFDGSUmM"
"""Types of arrays whose memory holds values alone: no objects, no records."""


SAFE_CLASSES = [
    entry
    for home, base in ((nn.modules, nn.Module), (torch.optim, Optimizer), (lr_scheduler, LRScheduler))
    for entry in vars(home).values()
    if isinstance(entry, type) and issubclass(entry, base)
]
"""torch's own layers, optimizers and schedulers."""


def may_be_read(owner: type | None) -> AbstractContextManager[None]:
    """Let ``torch.load(weights_only=True)`` take these values, and layers of ``owner``'s file where there is one."""
    return torch.serialization.safe_globals([*VALUES, *_numpy(), *safe_classes(owner)])


def why_not_read(contents: Any, owner: type | None) -> str:
    """What a reader will refuse of contents; empty where nothing is. Takes a copy of all their tensors.

    Raises what pickle raises where they cannot even be written.
    """
    file = io.BytesIO()
    torch.save(contents, file)
    file.seek(0)
    with may_be_read(owner):
        try:
            torch.load(file, weights_only=True)
        except Exception as error:  # noqa: BLE001  # whatever a reader would meet
            return refused(file, error)
    return ""


def refused(file: IO[bytes], error: Exception) -> str:
    """The names of what a file must not hold, as far as they can be told. Within :func:`may_be_read`."""
    first = re.findall(r"Unsupported global: GLOBAL (\S+)", str(error))
    file.seek(0)
    names = []
    # Not where it is no zip file, or not all of it a pickle as torch writes it.
    with suppress(ValueError, EOFError, pickle.UnpicklingError):
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    return ", ".join(names or first) or str(error).split("WeightsUnpickler error:")[-1].strip().split("\n")[0]


def _numpy() -> list[Any]:
    numpy = sys.modules.get("numpy")  # torch has imported it, where it is installed
    if numpy is None:
        return []
    multiarray = numpy._core.multiarray
    functions = [multiarray.scalar, multiarray._reconstruct]
    older = [(function, f"numpy.core.multiarray.{function.__name__}") for function in functions]  # before numpy 2
    return [*functions, *older, numpy.ndarray, numpy.dtype, *{type(numpy.dtype(kind)) for kind in NUMPY_KINDS}]


def safe_classes(owner: type | None) -> list[Any]:
    """Classes that may be rebuilt from a checkpoint: torch's own, and layers of the module that defines ``owner``,
    which is imported already. Building one sets its attributes and runs nothing of the file's."""
    if owner is None:
        return SAFE_CLASSES
    home = sys.modules.get(owner.__module__)
    own = [
        entry
        for entry in vars(home).values()
        if isinstance(entry, type) and issubclass(entry, nn.Module) and entry.__module__ == owner.__module__
    ]
    # A script's own classes are saved as those of `__main__` and read by a server under the script's name.
    as_main: list[Any] = [(entry, f"__main__.{entry.__qualname__}") for entry in own if owner.__module__ != "__main__"]
    return [*SAFE_CLASSES, *own, *as_main]
