"""``leyden fit | validate | test | predict``: a command line around any module that can be imported."""

from __future__ import annotations

import re
from typing import Any

from jsonargparse import ArgumentError

from leyden.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from leyden.commands import predictions
from leyden.data import LightningDataModule
from leyden.entry import load_class
from leyden.errors import MisconfigurationError
from leyden.module import LightningModule
from leyden.trainer import Trainer

KINDS = {"--model": LightningModule, "--data": LightningDataModule}


def run(command: str, arguments: list[str]) -> None:
    """Parse and run. Raises ``MisconfigurationError``, and ``SystemExit`` after help."""
    arguments, classes = _with_classes(arguments)
    # Help can list the arguments of a class that is known; a run must take subclasses, as configurations name them.
    helps = any(argument in ("-h", "--help") for argument in arguments)
    quiet = {"exit_on_error": False, "usage": f"leyden {command} --model MODULE:CLASS [options]"}
    Command(
        command,
        model_class=classes.get("--model"),
        datamodule_class=classes.get("--data"),
        subclass_mode_model=not helps,
        subclass_mode_data=not helps,
        args=[command, "--help"] if helps else [command, *arguments],
        save_config_callback=_SaveBesideLogs if command == "fit" else None,
        parser_kwargs={**quiet, command: quiet},
    )


def _with_classes(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The arguments with ``module:Class`` as ``module.Class``, which the parser knows, and the classes by option."""
    option, known, classes = "", [], {}
    for argument in arguments:
        name, _, value = argument.partition("=") if argument.startswith("--") else (option, "", argument)
        option = argument
        if name in KINDS and re.fullmatch(r"[\w.]+:\w+|\w+", value):
            classes[name] = load_class(value, KINDS[name])
            argument = argument.replace(":", ".")
        known.append(argument)
    return known, classes


class _SaveBesideLogs(SaveConfigCallback):
    """Without a logger there is no place of the run's own, and the working directory's config.yaml may be the input."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.loggers:
            super().setup(trainer, pl_module, stage)


class Command(LightningCLI):
    """One subcommand alone, so that only its parser is made, with errors of one sentence."""

    def __init__(self, command: str, **options: Any) -> None:
        self.command = command
        super().__init__(**options)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        if self.command == "predict":
            parser.add_argument("--output", type=str | None, default=None, help="file for predictions: .pt or .jsonl")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise MisconfigurationError(error.message) from error

    def before_instantiate_classes(self) -> None:
        if self.command == "predict":
            predictions.check(self.config["predict"]["output"])

    def predict(self, **arguments: Any) -> None:
        """The Trainer's ``predict``, whose result is written or shown."""
        found = self.trainer.predict(**arguments)
        if found is not None:
            predictions.keep(found, self.config["predict"]["output"], self.trainer)
