"""What a manifest says of a module: its import path, its JSON hyperparameters, and what ``forward`` takes and gives."""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from leyden.modes import in_evaluation

if TYPE_CHECKING:
    from leyden_contract.manifest import Signature, TensorSpec

logger = logging.getLogger("leyden")

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of ``forward``."""


def import_path(cls: type) -> str:
    """``module:Class``. A class of the script that runs is named by the script's file."""
    name = cls.__module__
    if name == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        file = getattr(sys.modules["__main__"], "__file__", None)
        name = spec.name if spec is not None else Path(file).stem if file else name
    return f"{name}:{cls.__qualname__}"


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that JSON can hold."""
    return {name: value for name, value in values.items() if _is_json(value)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def example_call(example: Any) -> Call | None:
    """The arguments that an ``example_input_array`` stands for."""
    if example is None:
        return None
    if isinstance(example, tuple):
        return example, {}
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example,), {}


def likely_calls(module: nn.Module, batch: Any) -> list[Call]:
    """How ``forward`` may take a batch, most likely first: as many of its parts as it has parameters, or the whole."""
    required = [
        parameter
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    calls: list[Call] = []
    if isinstance(batch, (list, tuple)) and len(batch) >= len(required):
        calls.append((tuple(batch[: max(1, len(required))]), {}))
    return [*calls, ((batch,), {})]


def few_samples(value: Any) -> Any:
    """Tensors cut to two samples, so that little is held; containers are walked."""
    return map_tensors(value, lambda tensor: (tensor.detach()[:2] if tensor.dim() else tensor.detach()).clone())


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The value with each tensor changed; dicts, lists and plain tuples are walked."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map_tensors(item, change) for item in value)
    return value


class Traced(NamedTuple):
    """What ``forward`` takes and gives, and a call that it takes, on the module's device."""

    signature: Signature
    call: inspect.BoundArguments


def trace(module: Any, seen: list[Call]) -> Traced | None:
    """Run ``forward`` in evaluation mode on the first of the calls that it takes.

    ``None`` where it takes none of them, or takes or gives something else than tensors. Leaves the module and all
    generators as they were.
    """
    example = example_call(module.example_input_array)
    with in_evaluation(module, module.device):
        for args, kwargs in [example] if example is not None else seen:
            try:
                call = bound(module, args, kwargs)
                return Traced(_signature_of(call.arguments, module(*call.args, **call.kwargs)), call)
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
                logger.info("forward does not take %s: %s", type(args[0] if args else kwargs).__name__, error)
    return None


def bound(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """A call of ``forward`` in the order of its parameters, on the module's device."""
    from leyden.nested import move

    return inspect.signature(module.forward).bind(*move(args, module.device), **move(kwargs, module.device))


def named_outputs(outputs: Any) -> dict[str, Any]:
    """What ``forward`` gave, by the names under which a server answers."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, (list, tuple)):
        return {f"output_{index}": value for index, value in enumerate(outputs)}
    return {"output": outputs}


def _signature_of(inputs: Mapping[str, Any], outputs: Any) -> Signature:
    from leyden_contract.manifest import Signature

    return Signature(
        inputs=tuple(_spec(name, value) for name, value in inputs.items()),
        outputs=tuple(_spec(name, value) for name, value in named_outputs(outputs).items()),
    )


def _spec(name: str, value: Any) -> TensorSpec:
    """The first dimension is the batch, and free."""
    from leyden_contract.manifest import TensorSpec

    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tensor")
    shape: tuple[int | None, ...] = (None, *value.shape[1:]) if value.dim() else ()
    return TensorSpec.model_validate({"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": shape})
