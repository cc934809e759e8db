"""Leyden's training engine: ``import leyden as L``. Names and behaviour are those of Lightning 2.

Names are imported when they are first used, so that the elastic agent, which needs none of them, runs without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leyden import accelerators, callbacks, cli, errors, loggers, metrics, plugins, profilers, strategies, tuner
    from leyden.callbacks import Callback
    from leyden.data import LightningDataModule
    from leyden.module import LightningModule
    from leyden.rng import seed_everything
    from leyden.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "Trainer",
    "accelerators",
    "callbacks",
    "cli",
    "errors",
    "loggers",
    "metrics",
    "plugins",
    "profilers",
    "seed_everything",
    "strategies",
    "tuner",
]

_HOMES = {
    "Callback": "callbacks",
    "LightningDataModule": "data",
    "LightningModule": "module",
    "Trainer": "trainer",
    "seed_everything": "rng",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    value = getattr(home, name) if name in _HOMES else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
