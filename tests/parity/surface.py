"""Writes what is public in one library as JSON: ``python surface.py lightning|leyden PEERS OUTPUT``.

By class: the parameters of its constructor and methods as ``name`` or ``name=default``, and the names of properties.
Attributes that only instances have are seen where an instance is made here.
"""

from __future__ import annotations

import enum
import inspect
import json
import sys
import warnings
from pathlib import Path
from typing import Any

GROUPS = ("callbacks", "loggers", "profilers")


def parameter(found: inspect.Parameter) -> str:
    stars = {found.VAR_POSITIONAL: "*", found.VAR_KEYWORD: "**"}.get(found.kind, "")
    if found.kind in (found.VAR_POSITIONAL, found.VAR_KEYWORD):
        return stars
    return found.name if found.default is found.empty else f"{found.name}={shown(found.default)}"


def shown(default: Any) -> str:
    """A default, without what differs between two processes or libraries that mean the same."""
    if isinstance(default, enum.Enum):
        default = default.value
    if isinstance(default, str):
        return repr(str(default))
    return repr(default) if type(default).__module__ == "builtins" and not callable(default) else "..."


def parameters(function: Any) -> list[str] | None:
    """In order, those that can only be given by name last and sorted."""
    try:
        found = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
    except (TypeError, ValueError):
        return None
    named = [one for one in found if one.kind is one.KEYWORD_ONLY]
    return [parameter(one) for one in found if one not in named] + sorted(map(parameter, named))


def surface(kind: type, instance: Any = None) -> dict[str, Any]:
    """``None`` stands for a property or attribute."""
    import torch

    inherited = {*dir(torch.nn.Module), *dir(object)}
    found: dict[str, Any] = {"__init__": parameters(kind.__init__)}  # type: ignore[misc]  # read only
    for name in dir(kind):
        if name.startswith("_") or name in inherited:
            continue
        value = inspect.getattr_static(kind, name)
        is_method = callable(value) or isinstance(value, (staticmethod, classmethod))
        found[name] = parameters(getattr(kind, name)) if is_method else None
    for name in vars(instance) if instance is not None else ():
        if not name.startswith("_"):
            found.setdefault(name, None)
    return found


def made(kind: type) -> Any:
    """An instance, where that needs no arguments and no package that is missing."""
    try:
        return kind()
    except (TypeError, ImportError):
        return None


def main() -> None:
    library, peers, output = sys.argv[1:]
    warnings.simplefilter("ignore")
    sys.path.append(peers)
    if library == "leyden":
        sys.path.remove(peers)
        from leyden import compat

        compat.install()
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    kinds: dict[str, tuple[type, Any]] = {
        "Trainer": (pl.Trainer, trainer),
        "LightningModule": (pl.LightningModule, pl.LightningModule()),
        "LightningDataModule": (pl.LightningDataModule, pl.LightningDataModule()),
        "Tuner": (Tuner, None),
    }
    for group in GROUPS:
        home = getattr(pl, group)
        for name in home.__all__:
            if inspect.isclass(getattr(home, name)):
                kinds[name] = (getattr(home, name), made(getattr(home, name)) if group != "loggers" else None)
    Path(output).write_text(json.dumps({name: surface(*kind) for name, kind in kinds.items()}))


if __name__ == "__main__":
    main()
