"""``LightningCLI``: parse, build, run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

from jsonargparse import ActionConfigFile, Namespace, class_from_function
from torch.optim import Optimizer

from leyden.callbacks import Callback
from leyden.checkpoint.loading import stored_hyperparameters
from leyden.cli.optimizers import ArgsType, ReduceLROnPlateau, described, instantiate_class
from leyden.cli.parser import AUTOMATIC, Chosen, LightningArgumentParser
from leyden.cli.saving import SaveConfigCallback
from leyden.data import LightningDataModule
from leyden.errors import MisconfigurationError
from leyden.module import LightningModule
from leyden.rng import seed_everything
from leyden.settings import environment_values
from leyden.trainer import Trainer


class LightningCLI:
    """A program's command line: ``fit | validate | test | predict`` with the arguments of the classes it is given.

    ``model_class`` and ``datamodule_class`` are classes or functions that return one; without them the user picks one
    with ``--model package.module.Class``, as with ``subclass_mode_*``. ``trainer_defaults`` are the Trainer's arguments
    where the user gives none; its callbacks are always there. ``args``: a list like ``sys.argv[1:]`` or a dict like a
    configuration file. ``run=False`` only builds ``model``, ``datamodule`` and ``trainer``.

    ``load_from_checkpoint_support`` is taken and has no effect: constructor arguments are kept with every checkpoint.
    """

    def __init__(
        self,
        model_class: Callable[..., LightningModule] | None = None,
        datamodule_class: Callable[..., LightningDataModule] | None = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_kwargs: dict[str, Any] | None = None,
        trainer_class: Callable[..., Trainer] = Trainer,
        trainer_defaults: dict[str, Any] | None = None,
        seed_everything_default: bool | int = True,
        parser_kwargs: dict[str, Any] | None = None,
        parser_class: type[LightningArgumentParser] = LightningArgumentParser,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        args: ArgsType = None,
        run: bool = True,
        auto_configure_optimizers: bool = True,
        load_from_checkpoint_support: bool = True,
    ) -> None:
        self.model_class = model_class
        self.datamodule_class = datamodule_class
        self.save_config_callback = save_config_callback
        self.save_config_kwargs = save_config_kwargs or {}
        self.trainer_class = trainer_class
        self.trainer_defaults = trainer_defaults or {}
        self.seed_everything_default = seed_everything_default
        self.parser_kwargs = parser_kwargs or {}
        self.parser_class = parser_class
        self.subclass_mode_model = model_class is None or subclass_mode_model
        self.subclass_mode_data = datamodule_class is None or subclass_mode_data
        self.auto_configure_optimizers = auto_configure_optimizers
        self.subcommand: str | None = None

        self.setup_parser(run)
        self.parse_arguments(self.parser, args)
        if run:
            self.subcommand = self.config["subcommand"]
            self._take_hyperparameters(args)
        self._set_seed()
        self.before_instantiate_classes()
        self.instantiate_classes()
        self.after_instantiate_classes()
        if self.subcommand is not None:
            self._run_subcommand(self.subcommand)

    # The parser.

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """An empty parser that takes configuration files."""
        parser = self.parser_class(**kwargs)
        parser.add_argument(
            "-c", "--config", action=ActionConfigFile, help="a YAML or JSON file; of several, later ones win"
        )
        return parser

    def setup_parser(self, add_subcommands: bool) -> None:
        """Make ``self.parser``, and a parser for each subcommand."""
        names = self.subcommands()
        own = {name: value for name, value in self.parser_kwargs.items() if name not in names}
        self.parser = self.init_parser(**own)
        self._parsers: dict[str | None, LightningArgumentParser] = {None: self.parser}
        self._method_arguments: dict[str, list[str]] = {}
        if not add_subcommands:
            self._add_arguments(self.parser)
            return
        trainer = (
            self.trainer_class if isinstance(self.trainer_class, type) else class_from_function(self.trainer_class)
        )
        chooser = self.parser.add_subcommands()
        for name, skipped in names.items():
            summary = (getattr(trainer, name).__doc__ or "").strip().partition("\n")[0]
            parser = self.init_parser(**{"description": summary, **self.parser_kwargs.get(name, {})})
            self._add_arguments(parser)
            self._method_arguments[name] = parser.add_method_arguments(trainer, name, skip=set(skipped))
            self._parsers[name] = parser
            chooser.add_subcommand(name, parser, help=summary)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's methods that can be run, and those of their arguments that are no options."""
        evaluation = {"model", "dataloaders", "datamodule"}
        fit = {"model", "train_dataloaders", "val_dataloaders", "datamodule"}
        return {"fit": fit, **dict.fromkeys(("validate", "test", "predict"), evaluation)}

    def _add_arguments(self, parser: LightningArgumentParser) -> None:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            if not parser.chosen_optimizers:
                parser.add_optimizer_args()
            if not parser.chosen_schedulers:
                parser.add_lr_scheduler_args()
        for key, (cls, link_to) in {**parser.chosen_optimizers, **parser.chosen_schedulers}.items():
            if link_to != AUTOMATIC:
                compute = None if isinstance(cls, tuple) else partial(described, cls)
                parser.link_arguments(key, link_to, compute_fn=compute)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Arguments of the program itself."""
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="seed of all generators; true: $PL_GLOBAL_SEED, else 0; false: none",
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Arguments of the Trainer, the module and the data module."""
        names = parser.add_lightning_class_args(self.trainer_class, "trainer")
        variables = environment_values(name.removeprefix("trainer.") for name in names)
        defaults = {**variables, **self.trainer_defaults}
        parser.set_defaults({f"trainer.{name}": value for name, value in defaults.items() if name != "callbacks"})
        parser.add_lightning_class_args(self.model_class or LightningModule, "model", self.subclass_mode_model)
        parser.add_lightning_class_args(
            self.datamodule_class or LightningDataModule,
            "data",
            self.subclass_mode_data,
            required=self.datamodule_class is not None,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Override to add arguments, or to link some: ``parser.link_arguments("data.width", "model.width")``."""

    # From arguments to objects.

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Fill ``self.config``."""
        self.config: Namespace = (
            parser.parse_object(args) if isinstance(args, (dict, Namespace)) else parser.parse_args(args)
        )

    def _take_hyperparameters(self, args: ArgsType) -> None:
        """The arguments that a checkpoint's module was made with become the defaults; what the user says wins."""
        path = self._get(self.config, "ckpt_path")
        if not path or not os.path.exists(path):
            return
        model = self._get(self.config, "model")
        accepted = model.get("init_args", {}) if self.subclass_mode_model else model
        kept = {name: value for name, value in stored_hyperparameters(path).items() if name in accepted}
        if self.subclass_mode_model:
            kept = {"model": {"class_path": model["class_path"], "init_args": kept}}
        else:
            kept = {f"model.{name}": value for name, value in kept.items()}
        self._parsers[self.subcommand].set_defaults(kept)
        self.parse_arguments(self.parser, args)

    def _set_seed(self) -> None:
        chosen = self._get(self.config, "seed_everything")
        if chosen is not False:
            seed = seed_everything(None if chosen is True else chosen, workers=True)
            self._section(self.config)["seed_everything"] = seed

    def before_instantiate_classes(self) -> None:
        """Override to run code before anything is built."""

    def instantiate_classes(self) -> None:
        """Build ``self.model``, ``self.datamodule`` and ``self.trainer``."""
        self.config_init: Namespace = self.parser.instantiate(self.config)
        self.model: LightningModule = self._get(self.config_init, "model")
        self.datamodule: LightningDataModule | None = self._get(self.config_init, "data")
        self._give_optimizers()
        self.trainer = self.instantiate_trainer()

    def after_instantiate_classes(self) -> None:
        """Override to run code when everything is built and nothing has run."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer, with ``kwargs`` over what was parsed."""
        parser = self._parsers[self.subcommand]
        parsed = self._get(self.config_init, "trainer")  # none, where the class takes no arguments
        arguments = {**(parsed.as_dict() if parsed is not None else {}), **kwargs}
        if "callbacks" not in arguments:
            warnings.warn(f"{self.trainer_class.__qualname__} takes no callbacks: it gets none", stacklevel=2)
            return self.trainer_class(**arguments)
        callbacks = _listed(arguments["callbacks"])
        callbacks += [self._get(self.config_init, key) for key in parser.callback_keys]
        callbacks += _listed(self.trainer_defaults.get("callbacks"))
        if self.save_config_callback is not None and not arguments.get("fast_dev_run"):
            callbacks.append(self.save_config_callback(parser, self._section(self.config), **self.save_config_kwargs))
        return self.trainer_class(**{**arguments, "callbacks": callbacks})

    @staticmethod
    def configure_optimizers(lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: Any = None) -> Any:
        """What the module's ``configure_optimizers`` returns where ``--optimizer`` is given. Override to change it."""
        if lr_scheduler is None:
            return optimizer
        if isinstance(lr_scheduler, ReduceLROnPlateau):
            plateau = {"scheduler": lr_scheduler, "monitor": lr_scheduler.monitor}
            return {"optimizer": optimizer, "lr_scheduler": plateau}
        return [optimizer], [lr_scheduler]

    def _give_optimizers(self) -> None:
        parser = self._parsers[self.subcommand]
        init = self._automatic(parser.chosen_optimizers, "optimizer") if self.auto_configure_optimizers else None
        if init is None:
            return
        optimizer = instantiate_class(self.model.parameters(), init)
        init = self._automatic(parser.chosen_schedulers, "scheduler")
        scheduler = None if init is None else instantiate_class(optimizer, init)
        configure = partial(self.configure_optimizers, optimizer=optimizer, lr_scheduler=scheduler)
        self.model.configure_optimizers = MethodType(configure, self.model)  # type: ignore[method-assign]  # on purpose

    def _automatic(self, chosen: Chosen, kind: str) -> dict[str, Any] | None:
        """The one that is linked to nothing."""
        keys = [key for key, (_, link_to) in chosen.items() if link_to == AUTOMATIC]
        if len(keys) > 1:
            raise MisconfigurationError(
                f"only one {kind} can be given to the module on its own, not {', '.join(keys)}: "
                "link them to arguments of the module (link_to=...) and write configure_optimizers"
            )
        return described(chosen[keys[0]][0], self._get(self.config_init, keys[0])) if keys else None

    def _section(self, config: Namespace) -> Namespace:
        """The part of the subcommand; all, where there is none."""
        section: Namespace = config if self.subcommand is None else config[self.subcommand]
        return section

    def _get(self, config: Namespace, key: str) -> Any:
        return self._section(config).get(key)

    # Run.

    def _run_subcommand(self, subcommand: str) -> None:
        """``before_<name>``, the method of this object or else of the Trainer, ``after_<name>``."""
        given = self.config_init[subcommand]
        arguments = {name: given[name] for name in self._method_arguments[subcommand]}
        if self.datamodule is not None:
            arguments["datamodule"] = self.datamodule
        getattr(self, f"before_{subcommand}", lambda: None)()
        run = getattr(self, subcommand, None) or getattr(self.trainer, subcommand)
        run(model=self.model, **arguments)
        getattr(self, f"after_{subcommand}", lambda: None)()


def _listed(given: Callback | list[Callback] | None) -> list[Callback]:
    if given is None:
        return []
    return [given] if isinstance(given, Callback) else list(given)
