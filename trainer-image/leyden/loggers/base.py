"""What a logger is."""

from __future__ import annotations

import functools
import importlib
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from leyden.errors import MisconfigurationError
from leyden.rank_zero import is_rank_zero

if TYPE_CHECKING:
    from leyden.callbacks import ModelCheckpoint
    from leyden.module import LightningModule

Params = Mapping[str, Any] | Namespace | None


class FabricLogger:
    """What a logger needs no Trainer for. Apart for loggers of other projects, which derive from both."""

    LOGGER_JOIN_CHAR = "-"
    """Between a logger's ``prefix`` and the name of a metric."""

    out_of_order = False
    """Whether it has failed and is left alone."""

    _prefix = ""

    @property
    def name(self) -> int | str | None:
        """The experiment's name."""
        return None

    @property
    def version(self) -> int | str | None:
        """The run among those of one name."""
        return None

    @property
    def root_dir(self) -> str | None:
        """Directory of all versions of one name."""
        return None

    @property
    def log_dir(self) -> str | None:
        """Directory of this run's files."""
        return None

    @property
    def group_separator(self) -> str:
        """Between the parts of a metric's name that say what it belongs to."""
        return "/"

    @property
    def experiment(self) -> Any:
        """The object of the library behind the logger, for what Leyden does not offer."""
        return None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take metrics of a step."""
        raise NotImplementedError

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Take the run's hyperparameters: a dict or a namespace."""

    def log_graph(self, model: LightningModule, input_array: Any = None) -> None:
        """Take the module's graph, traced with ``input_array`` or the module's ``example_input_array``."""

    def save(self) -> None:
        """Write what is buffered."""

    def finalize(self, status: str) -> None:
        """The run ended: ``success`` or ``failed``."""
        self.save()

    def _prefixed(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        if not self._prefix:
            return dict(metrics)
        return {f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}": value for name, value in metrics.items()}


class Logger(FabricLogger):
    """Receives metrics and hyperparameters on rank 0. Only ``log_metrics`` must be overridden.

    A run goes on without a logger that fails: there is one warning, and it is left alone from then on.
    """

    @property
    def save_dir(self) -> str | None:
        """Root of the files that it writes."""
        return None

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """A ModelCheckpoint has saved."""


def tell(loggers: Sequence[Logger], call: Callable[[Logger], Any]) -> None:
    """Make a call of each logger, on rank 0: all calls of a Trainer to its loggers go through here.

    No logger may end or change a run: one that fails is warned about, and left alone from then on.
    """
    for logger in loggers if is_rank_zero() else ():
        if logger.out_of_order:
            continue
        try:
            call(logger)
        except Exception as error:  # noqa: BLE001  it may fail in whatever way the library behind it does
            logger.out_of_order = True
            said = str(error).strip().splitlines()
            warnings.warn(
                f"{type(logger).__name__} failed and is left out from here on, training goes on: "
                f"{type(error).__name__}: {said[0] if said else ''}",
                stacklevel=2,
            )


class DummyExperiment:
    """Takes every call, item and attribute, and does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):  # what Python asks of it on its own account
            raise AttributeError(name)
        return lambda *args, **kwargs: None

    def __getitem__(self, index: Any) -> DummyExperiment:
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        pass


class DummyLogger(Logger):
    """A logger that takes everything and keeps nothing, for programs that call ``self.logger`` in a run without one."""

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.experiment, name)

    def __getitem__(self, index: Any) -> DummyLogger:
        return self

    @property
    def experiment(self) -> DummyExperiment:
        return DummyExperiment()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pass


def rank_zero_experiment(getter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """For the getter of ``experiment``: a :class:`DummyExperiment` on other ranks than 0, and where the logger is out
    of order."""

    @functools.wraps(getter)
    def experiment(logger: Any) -> Any:
        return getter(logger) if is_rank_zero() and not logger.out_of_order else DummyExperiment()

    return experiment


def library(module: str, package: str) -> Any:
    """Import what a logger needs. Raises ``MisconfigurationError`` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MisconfigurationError(f"{package} is not installed: pip install {package}") from error


def as_dict(params: Params) -> dict[str, Any]:
    """Hyperparameters as a dict."""
    return vars(params) if isinstance(params, Namespace) else dict(params or {})


def flatten(params: Mapping[Any, Any], delimiter: str = "/", parent_key: str = "") -> dict[str, Any]:
    """Nested hyperparameters by names of their keys from the outermost on, like ``model/depth``."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        name = f"{parent_key}{delimiter}{key}" if parent_key else str(key)
        inner = vars(value) if isinstance(value, Namespace) else value
        if isinstance(inner, Mapping) and inner:
            flat.update(flatten(inner, delimiter, name))
        else:
            flat[name] = value
    return flat
