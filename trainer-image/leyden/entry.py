"""Runs a job's module: from import paths and a config to ``Trainer.fit``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leyden.callbacks import CheckpointDirectory
from leyden.data import LightningDataModule
from leyden.errors import AttributeNotFound, MisconfigurationError, ModuleNotFound, bad_value
from leyden.module import LightningModule
from leyden.trainer import Trainer

if TYPE_CHECKING:
    from leyden_contract.launch import CheckpointPlan, ModuleRun

SECTIONS = ("model", "data", "trainer")


def run_module(run: ModuleRun, plan: CheckpointPlan | None) -> None:
    """Import, build, train. Returns when training ended by its own rules.

    Raises ``MisconfigurationError`` (and its kinds) for what the user has to change, ``SystemExit(75)`` after a stop on
    request, and whatever the user's code raises.
    """
    unknown = sorted(set(run.config) - set(SECTIONS))
    if unknown:
        raise bad_value("config section", unknown[0], f"one of {', '.join(SECTIONS)}")
    sections = {name: _section(name, run.config.get(name)) for name in SECTIONS}
    model = build(load_class(run.model, LightningModule), sections["model"], "config.model")
    data = None
    if run.data is not None:
        data = build(load_class(run.data, LightningDataModule), sections["data"], "config.data")
    elif sections["data"]:
        raise MisconfigurationError("config.data is given, but run.module.data names no LightningDataModule")
    if plan is not None:
        # The job's status takes the place of a log file, and its checkpoint directory that of the working directory.
        planned = {"callbacks": [CheckpointDirectory.from_plan(plan)], "logger": False}
        sections["trainer"] = {**planned, "default_root_dir": plan.directory, **sections["trainer"]}
    trainer: Trainer = build(Trainer, sections["trainer"], "config.trainer")
    trainer.fit(model, datamodule=data)


def _section(name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise bad_value(f"config.{name}", given, "a mapping of argument names to values")
    return dict(given)


def load_class(path: str, kind: type) -> Any:
    """The class behind ``package.module:Class``, which must be a ``kind``."""
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name:
        raise bad_value("import path", path, "of the form `package.module:Class`")
    module = load_module(module_name)
    found = getattr(module, class_name, None)
    if found is None:
        have = ", ".join(_classes(module, kind)) or f"none that is a {kind.__name__}"
        raise AttributeNotFound(f"{module_name} has no {class_name!r}; its classes are: {have}")
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise MisconfigurationError(f"{path} is not a {kind.__name__}")
    return found


def load_module(name: str) -> Any:
    """Import a module. One that does not exist is told apart from one that fails inside."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ModuleNotFound(missing) from None
        raise ModuleNotFound(f"{missing}, which {name} imports") from error


def _classes(module: Any, kind: type) -> list[str]:
    return sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
    )


def build(cls: Any, arguments: dict[str, Any], where: str) -> Any:
    """Call a class with arguments from a config, by the rules of the command line.

    Values become what the annotations say, and ``class_path`` with ``init_args`` an object of that class. Arguments
    that are not given are left to the class.
    """
    from jsonargparse import ArgumentError

    from leyden.cli.parser import LightningArgumentParser

    names = _checked_names(cls, arguments, where)
    parser = LightningArgumentParser(exit_on_error=False)
    left_out = {name for name in names if name not in arguments}
    known = parser.add_class_arguments(cls, where, fail_untyped=False, instantiate=False, skip=left_out)
    typed = {name: value for name, value in arguments.items() if f"{where}.{name}" in known}
    try:
        parsed = parser.parse_object({f"{where}.{name}": value for name, value in typed.items()})
    except ArgumentError as error:
        raise MisconfigurationError(error.message) from error
    built = parser.instantiate(parsed)
    return cls(**{**arguments, **{name: built[f"{where}.{name}"] for name in typed}})


def _checked_names(cls: Any, arguments: dict[str, Any], where: str) -> list[str]:
    """The names of a class's arguments, once those that are given are known to fit."""
    # Of __init__, because modules take anything in __new__.
    parameters = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    for name in arguments:
        if name not in named and not open_ended:
            raise MisconfigurationError(
                f"{where}.{name} is not an argument of {cls.__name__}; it takes: {', '.join(named) or 'none'}"
            )
    missing = [n for n, p in named.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise MisconfigurationError(f"{where} lacks {', '.join(missing)}, which {cls.__name__} needs")
    return list(named)
