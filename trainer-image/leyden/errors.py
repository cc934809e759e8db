"""Errors that tell a person what to change.

The class name is the reason that ends up in a job's status, and the message is one sentence for people.
"""

import warnings
from collections.abc import Iterable
from numbers import Real
from typing import Any


class LeydenError(Exception):
    """Base of everything that Leyden raises on purpose. ``retryable`` says whether running again may help."""

    retryable = True

    @property
    def reason(self) -> str:
        """One CamelCase word for machines."""
        return type(self).__name__


class MisconfigurationError(LeydenError):
    """The user has to change something first; running again cannot help."""

    retryable = False


class ModuleNotFound(MisconfigurationError):
    """A module does not exist. The message is its name, and who imports it where a job's module does."""


class AttributeNotFound(MisconfigurationError):
    """A module exists but lacks the class that the import path names."""


class CheckpointStorage(LeydenError):
    """The place where checkpoints go cannot be written or read: full, read-only, gone."""


class Superseded(LeydenError):
    """A later attempt of the job, or another job, writes to the checkpoint directory now."""

    retryable = False


class CheckpointCorrupt(LeydenError):
    """A checkpoint's files are not what its manifest says."""


class ExportFailed(MisconfigurationError):
    """``forward`` cannot be exported, or the export answers otherwise than the module."""


class CheckpointMismatch(MisconfigurationError, RuntimeError):
    """A checkpoint holds the weights of another module; torch raises a ``RuntimeError`` there."""


class SIGTERMException(SystemExit):
    """Ends a run that was asked to stop, between two steps; ``on_exception`` hooks see it. Its code is 75."""


def only_weights(weights_only: bool | None) -> None:
    """Warn of the ``weights_only=False`` of Lightning's methods."""
    if weights_only is False:
        warnings.warn(
            "weights_only=False has no effect: a checkpoint must not be able to run code. Name the classes that it may "
            "hold beside weights and plain values: torch.serialization.add_safe_globals([...])",
            stacklevel=3,
        )


def bad_value(field: str, given: object, allowed: str) -> MisconfigurationError:
    """The error for an argument with a value that is not allowed."""
    return MisconfigurationError(f"{field}={given!r} is not allowed: it must be {allowed}")


def one_of(field: str, given: object, allowed: Iterable[object]) -> MisconfigurationError:
    """The error for an argument outside a fixed set of values."""
    return bad_value(field, given, "one of " + ", ".join(repr(value) for value in allowed))


def at_least(field: str, given: Any, least: int, allowed: str = "") -> int:
    """An argument as an integer of at least ``least``, be it numpy's or written as ``1e5``.

    Raises ``MisconfigurationError``.
    """
    is_whole = isinstance(given, Real) and not isinstance(given, bool) and given % 1 == 0
    if not is_whole or given < least:
        raise bad_value(field, given, allowed or f"an integer of at least {least}")
    return int(float(given))
