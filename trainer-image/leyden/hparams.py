"""Constructor arguments: remembered on their own, and kept as hyperparameters where a user asks for it."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from types import FrameType, MappingProxyType
from typing import Any, Self

from torch import nn

from leyden.errors import bad_value


class AttributeDict(dict[str, Any]):
    """A dict whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no hyperparameter {name!r}; there are: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]


class ConstructorCall:
    """What a constructor was called with. Copies of its object share it; a pickled one goes without what cannot be."""

    def __init__(self, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.args = args
        self.kwargs = dict(kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> ConstructorCall:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps((self.args, self.kwargs))
        except (pickle.PicklingError, AttributeError, TypeError):  # a function within another, a lock
            return ConstructorCall, ()
        return ConstructorCall, (self.args, self.kwargs)


@functools.cache
def constructor_signature(owner: type) -> inspect.Signature:
    """Of ``owner.__init__``, with ``self``. Kept, because each save asks for it."""
    return inspect.signature(owner.__init__)  # type: ignore[misc]  # read only


def constructor_arguments(owner: Any) -> dict[str, Any]:
    """The arguments of ``owner``'s constructor by name, defaults included; ``**kwargs`` are merged in."""
    call: ConstructorCall = owner._constructor_call
    signature = constructor_signature(type(owner))  # type: ignore[arg-type]  # classes are hashable
    try:
        bound = signature.bind(owner, *call.args, **call.kwargs)
    except TypeError:  # a subclass's __new__ took other arguments than __init__; only what has a name is known then
        return dict(call.kwargs)
    bound.apply_defaults()
    named: dict[str, Any] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(bound.arguments.get(name, {}))
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = bound.arguments[name]
    if is_dataclass(owner):  # whose defaults may be made anew for each
        named = {name: getattr(owner, name, value) for name, value in named.items()}
    return named


def running_arguments(owner: object, frame: FrameType | None) -> dict[str, Any]:
    """Arguments of the constructors that run now, from that of ``frame`` outwards: a base class's, then its
    subclass's. Other methods of ``owner``, which constructors may call, are passed over."""
    named: dict[str, Any] = {}
    while frame is not None:
        its_owner, arguments = frame_arguments(frame)
        if its_owner is not owner:
            break
        if frame.f_code.co_name == "__init__":
            named.update(arguments)
        frame = frame.f_back
    return named


def frame_arguments(frame: FrameType) -> tuple[object, dict[str, Any]]:
    """The object whose method runs in a frame, and the method's arguments by name; ``**kwargs`` are merged in."""
    values = inspect.getargvalues(frame)
    if not values.args:
        return None, {}
    named = {name: values.locals[name] for name in values.args[1:] if name in values.locals}
    return values.locals.get(values.args[0]), {**named, **values.locals.get(values.keywords or "", {})}


def _entries(given: Any) -> Mapping[str, Any]:
    if given is None or isinstance(given, Mapping):
        return given or {}
    if not hasattr(given, "__dict__"):
        raise bad_value("save_hyperparameters", given, "names of arguments, or a dict or namespace")
    entries: dict[str, Any] = vars(given)
    return entries


def _copy(kept: AttributeDict) -> AttributeDict:
    """What changes of the values do not reach. Modules, which are large, and what cannot be copied are the same."""
    copied = AttributeDict(kept)
    for name, value in kept.items():
        if not isinstance(value, nn.Module):
            with suppress(TypeError, RuntimeError):  # a lock, a file; a tensor that is computed
                copied[name] = copy.deepcopy(value)
    return copied


class HyperparametersMixin:
    """``save_hyperparameters`` and ``hparams`` for modules and data modules."""

    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    """Where a checkpoint has them."""

    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

    hparams_name: str | None = None
    """The constructor argument that they all were entries of; ``kwargs`` where they were arguments themselves."""

    logs_hyperparameters = False
    """Whether they were saved for loggers too."""

    _constructor_call: ConstructorCall
    _hparams: AttributeDict
    _hparams_initial: AttributeDict

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep what the constructor is called with, before ``__init__`` runs: that is how ``load_from_checkpoint`` can
        rebuild a module that never called ``save_hyperparameters``."""
        owner = super().__new__(cls)
        vars(owner)["_constructor_call"] = ConstructorCall(args, kwargs)
        vars(owner).update(_hparams=AttributeDict(), _hparams_initial=AttributeDict())
        return owner

    def save_hyperparameters(
        self, *args: Any, ignore: str | Sequence[str] | None = None, frame: Any = None, logger: bool = True
    ) -> None:
        """Keep constructor arguments as ``self.hparams``, in checkpoints, and (``logger``) in loggers.

        Without ``args``: all of them. ``args`` may name some, or be one dict or namespace to keep instead; ``None``
        keeps nothing. What ``ignore`` names goes also where a base class has saved it.
        """
        ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
        if frame is None and (own := inspect.currentframe()) is not None:
            frame = own.f_back
        # As they are now: a constructor may have put something in the place of a default; a dataclass does so later.
        running = {} if is_dataclass(self) else running_arguments(self, frame)
        given = {**constructor_arguments(self), **running}
        if not args:
            chosen = given
        elif all(isinstance(arg, str) for arg in args):
            unknown = [arg for arg in args if arg not in given]
            if unknown:
                raise bad_value("save_hyperparameters", unknown[0], f"a constructor argument: {', '.join(given)}")
            chosen = {name: given[name] for name in args}
        else:
            given_whole = [_entries(arg) for arg in args if not isinstance(arg, str)]
            chosen = {name: value for entries in given_whole for name, value in entries.items()}
        kept = {name: value for name, value in {**self.hparams, **chosen}.items() if name not in ignored}
        self._hparams = AttributeDict(kept)
        self._hparams_initial = _copy(self._hparams)
        self.logs_hyperparameters = logger
        if not args or isinstance(args[0], str):
            self.hparams_name = "kwargs"
        else:
            self.hparams_name = next((name for name, value in given.items() if value is args[0]), None)

    def remove_ignored_hparams(self, ignore_list: Sequence[str]) -> None:
        """Forget hyperparameters that a base class saved."""
        for kept in (self._hparams, self._hparams_initial):
            for name in ignore_list:
                kept.pop(name, None)

    @property
    def hparams(self) -> AttributeDict:
        """The hyperparameters kept so far; changes to it are kept too."""
        return self._hparams

    @property
    def hparams_initial(self) -> AttributeDict:
        """The hyperparameters as they were saved, whatever has happened to them since."""
        return _copy(self._hparams_initial)
