"""The parser: jsonargparse's, with groups for Lightning's classes and errors of one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, class_from_function
from torch.optim import Optimizer

from leyden import callbacks, loggers, profilers
from leyden.callbacks import Callback
from leyden.cli.optimizers import LRSchedulerTypeTuple
from leyden.data import LightningDataModule
from leyden.errors import MisconfigurationError
from leyden.module import LightningModule
from leyden.trainer import Trainer

Chosen = dict[str, tuple[type | tuple[type, ...], str]]
"""By key: a class, or bases of which the user picks a subclass; and the key that it is linked to."""
AUTOMATIC = "AUTOMATIC"

for package in (callbacks, loggers, profilers):  # ``class_path: TensorBoardLogger`` finds what has been imported
    for name in package.__all__:
        getattr(package, name)


class LightningArgumentParser(ArgumentParser):
    """An ``ArgumentParser`` that knows modules, data modules, Trainers, callbacks, optimizers and schedulers."""

    def __init__(
        self,
        *args: Any,
        description: str = "Lightning Trainer command line tool",
        env_prefix: str = "PL",
        default_env: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, description=description, env_prefix=env_prefix, default_env=default_env, **kwargs)
        self.callback_keys: list[str] = []
        self.chosen_optimizers: Chosen = {}
        self.chosen_schedulers: Chosen = {}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        super().error(sentence(message), ex)

    def instantiate(self, namespace: Namespace, *args: Any, instantiators: Any = (), **kwargs: Any) -> Namespace:
        """Build what the configuration names. What a constructor raises comes out as it is: jsonargparse would take it
        for a value of the wrong type."""
        raised: list[Exception] = []

        def build(cls: type, *args: Any, **kwargs: Any) -> Any:
            try:
                return cls(*args, **kwargs)
            except Exception as error:
                raised.append(error)
                raise

        try:
            own = [*(instantiators or ()), (build, object, True)]
            built: Namespace = super().instantiate(namespace, *args, instantiators=own, **kwargs)
        except ValueError:
            if raised:
                raise raised[-1] from None
            raise
        return built

    def add_lightning_class_args(
        self, lightning_class: Callable[..., Any], nested_key: str, subclass_mode: bool = False, required: bool = True
    ) -> list[str]:
        """Take a class's arguments, or those of a function that makes one, under ``nested_key``.

        ``subclass_mode``: the user picks a subclass by ``class_path``. Returns the names of the arguments.
        """
        cls = lightning_class if isinstance(lightning_class, type) else class_from_function(lightning_class)
        if not issubclass(cls, (Trainer, LightningModule, LightningDataModule, Callback)):
            raise MisconfigurationError(
                f"{cls.__qualname__} has no place on the command line: give a Trainer, LightningModule, "
                "LightningDataModule or Callback, or a function that returns one and says so by its annotation"
            )
        if issubclass(cls, Callback):
            self.callback_keys.append(nested_key)
        if subclass_mode:
            self.add_subclass_arguments(cls, nested_key, fail_untyped=False, required=required)
            return [nested_key]
        built_here = not issubclass(cls, Trainer)  # the Trainer is built last, with what the others add
        return list(
            self.add_class_arguments(cls, nested_key, fail_untyped=False, instantiate=built_here, sub_configs=True)
        )

    def add_optimizer_args(
        self,
        optimizer_class: type[Optimizer] | tuple[type[Optimizer], ...] = (Optimizer,),
        nested_key: str = "optimizer",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Take an optimizer's arguments. A tuple: any subclass. ``link_to``: a module's argument."""
        self._add_chosen(optimizer_class, nested_key, "params")
        self.chosen_optimizers[nested_key] = (optimizer_class, link_to)

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: type | tuple[type, ...] = LRSchedulerTypeTuple,
        nested_key: str = "lr_scheduler",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Take a scheduler's arguments, as :meth:`add_optimizer_args` does an optimizer's."""
        self._add_chosen(lr_scheduler_class, nested_key, "optimizer")
        self.chosen_schedulers[nested_key] = (lr_scheduler_class, link_to)

    def _add_chosen(self, cls: type | tuple[type, ...], nested_key: str, given_later: str) -> None:
        options: dict[str, Any] = {"instantiate": False, "fail_untyped": False, "skip": {given_later}}
        if isinstance(cls, tuple):
            self.add_subclass_arguments(cls, nested_key, **options)
        else:
            self.add_class_arguments(cls, nested_key, sub_configs=True, **options)


INNER = re.compile(r"Problem with given class_path '([^']+)':\s*(.*?)\s*(?=\n\s*- |\n\s*Given value|$)", re.DOTALL)
UNNAMED = re.compile(r"Expected a dot import path string: (\S+)")
GIVEN = re.compile(r"(?:Given value|Got value): (.*)")
ALLOWED = re.compile(r"Subtypes: \[(.*)\]|Expected an? (.*?)\. Got value")


def sentence(message: str) -> str:
    """What jsonargparse says of a wrong value on several lines, in one: the field, the value, and what is allowed."""
    found = re.match(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL)
    if found is None:
        return _squeezed(message)
    field, problem = found.groups()
    if inner := INNER.findall(problem):
        path, why = inner[-1]
        return f"{field}: {path}: {_squeezed(why)}"
    if unnamed := UNNAMED.search(problem):
        return f"{field}: no class is named {unnamed[1]!r}: give package.module.Class, or the name of one of Leyden's"
    given, allowed = GIVEN.search(problem), ALLOWED.search(problem)
    if given is None or allowed is None:
        return f"{field}: {_squeezed(problem)}"
    kinds = re.sub(r"<class '([^']+)'>", r"\1", allowed[1] or allowed[2])
    kinds = re.sub(r"(?:\w+\.)+(\w)", r"\1", kinds).replace(", ", " or ").replace("NoneType", "None")
    return f"{field}={given[1].strip()!r} is not allowed: it must be of type {kinds}"


def _squeezed(text: str) -> str:
    return " ".join(text.split())
