"""``LightningCLI``: a command line made of a module's, a data module's and the Trainer's arguments.

jsonargparse reads them from options, YAML and the environment. Nothing else in Leyden imports this package.
"""

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from leyden.cli.lightning_cli import LightningCLI
from leyden.cli.optimizers import (
    ArgsType,
    LRSchedulerCallable,
    LRSchedulerType,
    LRSchedulerTypeTuple,
    LRSchedulerTypeUnion,
    OptimizerCallable,
    ReduceLROnPlateau,
    instantiate_class,
)
from leyden.cli.parser import LightningArgumentParser
from leyden.cli.saving import SaveConfigCallback

__all__ = [
    "ActionConfigFile",
    "ArgsType",
    "ArgumentParser",
    "LRSchedulerCallable",
    "LRSchedulerType",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "LightningArgumentParser",
    "LightningCLI",
    "Namespace",
    "OptimizerCallable",
    "ReduceLROnPlateau",
    "SaveConfigCallback",
    "instantiate_class",
]
