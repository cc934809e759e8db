"""Reading checkpoints: directories and single files, into a run or into a fresh module."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from leyden.checkpoint import signature, store
from leyden.checkpoint.places import Place, Url, place, storage
from leyden.checkpoint.plain import may_be_read, refused
from leyden.checkpoint.weights import load_weights
from leyden.errors import CheckpointCorrupt, CheckpointStorage, MisconfigurationError, bad_value
from leyden.hparams import AttributeDict, HyperparametersMixin, constructor_signature
from leyden_contract.layout import MANIFEST_NAME

if TYPE_CHECKING:
    from leyden.data import LightningDataModule
    from leyden.module import LightningModule

D = TypeVar("D", bound="LightningDataModule")
M = TypeVar("M", bound="LightningModule")


PathLike = str | os.PathLike[str] | Url


@dataclass(frozen=True)
class Opened:
    """A file that the caller has opened, and closes."""

    file: IO[bytes]

    def __str__(self) -> str:
        return "the given file"

    @contextmanager
    def open(self, mode: str) -> Iterator[IO[bytes]]:
        """The file, from its beginning."""
        self.file.seek(0)
        yield self.file


def _source(given: PathLike | IO[bytes] | Opened) -> Place | Opened:
    if isinstance(given, (str, os.PathLike, Url)):
        return place(given)
    if isinstance(given, Opened):
        return given
    if not hasattr(given, "read"):
        raise bad_value("checkpoint_path", given, "a path, or a file that is open for reading bytes")
    return Opened(given)


def resolve(path: Place) -> Place:
    """The file or checkpoint directory that a path means: in a directory of checkpoints, the newest whole one."""
    with storage(f"the checkpoint {path} cannot be read"):
        if path.is_file() or (path / MANIFEST_NAME).is_file():
            return path
        there = path.exists()
    if not there:
        raise MisconfigurationError(f"there is no checkpoint at {path}")
    chosen = store.choose(path)
    if chosen.stored is None:
        why = "; ".join(chosen.skipped) or "it holds no step-* directory with a manifest.json"
        raise MisconfigurationError(f"{path} holds no checkpoint that can be read: {why}")
    return chosen.stored.path


def read(given: PathLike | IO[bytes] | Opened, map_location: Any = None, owner: type | None = None) -> dict[str, Any]:
    """The contents of a checkpoint directory or a single file. ``owner``: whose layers may be rebuilt from it."""
    path = _source(given)
    if not isinstance(path, Opened):
        path = resolve(path)
    try:
        with may_be_read(owner):
            if not isinstance(path, Opened) and not path.is_file():
                store.verify(store.inspect(path))
                return store.read(path, map_location)
            with path.open("rb") as file:
                if not zipfile.is_zipfile(file):
                    raise CheckpointCorrupt(f"{path} is not a checkpoint, or not all of one: it is no zip file")
                file.seek(0)
                contents = torch.load(file, map_location=map_location, weights_only=True)
    except OSError as error:
        raise CheckpointStorage(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise CheckpointCorrupt(
            f"{path} holds more than weights and plain values, and is not read because that could run code: "
            f"{_refused(path, owner, error)}. Classes that you trust are let in with "
            "torch.serialization.add_safe_globals([...])"
        ) from error
    except (EOFError, RuntimeError) as error:
        raise CheckpointCorrupt(f"{path} is not a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(contents, dict) or "state_dict" not in contents:
        raise CheckpointCorrupt(f"{path} is not a checkpoint: it has no 'state_dict'")
    return contents


def _refused(path: Place | Opened, owner: type | None, error: pickle.UnpicklingError) -> str:
    file = path if isinstance(path, Opened) or path.is_file() else path / store.STATE
    with may_be_read(owner), file.open("rb") as contents:
        return refused(contents, error)


def stored_hyperparameters(path: PathLike) -> dict[str, Any]:
    """The constructor arguments that a checkpoint directory or a ``.ckpt`` file holds, as far as JSON can."""
    found = resolve(place(path))
    if not found.is_file():
        return dict(store.inspect(found).manifest.hyperparameters)
    kept = read(found, map_location="meta").get("hyper_parameters", {})
    # Lightning's own command line keeps notes for itself under names that begin so.
    return signature.json_values({name: value for name, value in kept.items() if not name.startswith("_")})


def load_module(
    cls: type[M],
    checkpoint_path: PathLike | IO[bytes],
    map_location: Any,
    strict: bool | None,
    replaced: dict[str, Any],
) -> M:
    """See :meth:`leyden.LightningModule.load_from_checkpoint`."""
    path = _source(checkpoint_path)
    contents = read(path, map_location if map_location is not None else "cpu", owner=cls)
    ours, hyperparameters = contents.get("leyden", {}), contents.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {})
    stored = {**ours.get("arguments", {}), **_hyperparameters(cls, contents, replaced)}
    lost = [name for name in ours.get("left_out", ()) if name not in stored]
    module = cls(**_accepted(cls, stored, path, lost if hyperparameters else []))
    if lost and not hyperparameters:  # which would say that the program counts on them
        warnings.warn(f"{_without(cls, path, lost)}; now it has their defaults", stacklevel=3)
    module.configure_model()
    module.on_load_checkpoint(contents)
    load_weights(module, contents["state_dict"], strict=module.strict_loading if strict is None else strict)
    first = next((value for value in contents["state_dict"].values() if isinstance(value, Tensor)), None)
    return module.to(first.device) if first is not None and map_location is not None else module


def load_data(cls: type[D], checkpoint_path: PathLike | IO[bytes], map_location: Any, replaced: dict[str, Any]) -> D:
    """See :meth:`leyden.LightningDataModule.load_from_checkpoint`."""
    path = _source(checkpoint_path)
    contents = read(path, map_location if map_location is not None else "cpu")
    data = cls(**_accepted(cls, _hyperparameters(cls, contents, replaced), path))
    if (state := contents.get(cls.__qualname__)) is not None:
        data.load_state_dict(state)
    return data


def _hyperparameters(
    cls: type[HyperparametersMixin], contents: dict[str, Any], replaced: dict[str, Any]
) -> dict[str, Any]:
    """What was saved as such, and what takes its place, as arguments: as entries of the one that held them all."""
    saved, name = contents.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {}), contents.get(cls.CHECKPOINT_HYPER_PARAMS_NAME)
    parameters = constructor_signature(cls).parameters  # type: ignore[arg-type]  # classes are hashable
    if not isinstance(name, str) or name == "kwargs" or name not in parameters:
        return {**saved, **replaced}
    held = {**saved, **{key: value for key, value in replaced.items() if key not in parameters}}
    return {name: AttributeDict(held), **replaced}


def _without(cls: type, path: Place | Opened, names: list[str]) -> str:
    given = ", ".join(f"{name}=..." for name in names)
    return (
        f"{path} does not hold the constructor argument(s) {', '.join(names)} of {cls.__qualname__}: "
        f"call {cls.__qualname__}.load_from_checkpoint(path, {given})"
    )


def _accepted(cls: type, stored: dict[str, Any], path: Place | Opened, lost: Sequence[str] = ()) -> dict[str, Any]:
    """The stored arguments that the constructor takes. What it needs and nobody gave is an error by name, and so is
    what was ``lost`` on the way to the file."""
    given = list(constructor_signature(cls).parameters.values())[1:]
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in given)
    named = {one.name: one for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    needed = [name for name, parameter in named.items() if parameter.default is parameter.empty or name in lost]
    needed += [name for name in lost if open_ended and name not in named]
    if missing := [name for name in needed if name not in stored]:
        raise MisconfigurationError(_without(cls, path, missing))
    return stored if open_ended else {name: value for name, value in stored.items() if name in named}
