"""Exports: ``forward`` as a file that answers without the module's code, checked against the module itself.

A program shares its weights with the module that it was made of. So the one that was made for a run's first checkpoint
writes the weights of the moment for all later ones, which takes milliseconds where making it takes seconds. Where it
answers otherwise than the module does by then, because something else was baked in, it is made anew.
"""

from __future__ import annotations

import inspect
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.checkpoint import signature
from leyden.errors import ExportFailed, LeydenError
from leyden.export.formats import FORMATS, SHAPES, leaves, quiet
from leyden.modes import in_evaluation

if TYPE_CHECKING:
    from leyden.module import LightningModule

BATCHES = (1, 2, 7)
"""Batch sizes with which an export must answer as the module does."""

UNKNOWN_INPUTS = "what forward takes is not known: set example_input_array to an input of it"


def export(module: LightningModule, kind: str, sample: Any, file: Any = None, **options: Any) -> Any:
    """The module's program in a format, checked, and written to ``file``, a path or an open binary file.

    ``sample``: input of ``forward`` as ``example_input_array`` has it, which is the default; in a run, it may be what
    ``forward`` has seen. ``options`` go to torch's exporter. Raises ``ExportFailed``.
    """
    with _stage(_cannot(module, kind)):
        call = _call(module, sample)
        if call is None and options.get("method") != "script":
            raise ExportFailed(UNKNOWN_INPUTS)
        program, data = _export(module, kind, call, options)
    if hasattr(file, "write"):
        file.write(data)
    elif file is not None:
        Path(file).write_bytes(data)
    return program


@dataclass
class Exporter:
    """The exports beside a run's checkpoints, in the formats asked for."""

    formats: Sequence[str]
    _programs: dict[str, Any] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)

    def files(
        self,
        module: LightningModule,
        traced: signature.Traced | None,
        warn: Callable[[str], None],
        only_made: bool = False,
    ) -> dict[str, bytes]:
        """Contents by format. One that fails is warned of, left out, and not tried again.

        ``only_made``: leave out those whose program would have to be made first.
        """
        found = {}
        for kind in self.formats:
            if kind in self._given_up or (only_made and kind not in self._programs):
                continue
            try:
                with _stage(_cannot(module, kind)):
                    found[kind] = self._file(module, kind, traced)
            except ExportFailed as error:
                self._given_up.add(kind)
                warn(f"checkpoints are committed without their {kind} export: {error}")
        return found

    def _file(self, module: LightningModule, kind: str, traced: signature.Traced | None) -> bytes:
        if traced is None:
            raise ExportFailed(UNKNOWN_INPUTS)
        if any(hasattr(parameter, "full_tensor") for parameter in module.parameters()):
            raise ExportFailed("its parameters are spread over the ranks")
        made = self._programs.get(kind)
        try:
            self._programs[kind], data = _export(module, kind, traced.call, {}, made)
        except ExportFailed:
            if made is None:
                raise
            self._programs[kind], data = _export(module, kind, traced.call, {})
        return data


def _cannot(module: LightningModule, kind: str) -> str:
    return f"{type(module).__qualname__} cannot be exported ({kind})"


def _call(module: LightningModule, sample: Any) -> inspect.BoundArguments | None:
    example = signature.example_call(module.example_input_array if sample is None else sample)
    if example is not None:
        return signature.bound(module, *example)
    traced = signature.trace(module, module._trainer.forward_inputs) if module._trainer is not None else None
    return traced.call if traced is not None else None


def _export(
    module: LightningModule,
    kind: str,
    call: inspect.BoundArguments | None,
    options: dict[str, Any],
    program: Any = None,
) -> tuple[Any, bytes]:
    """The program, made where none is given, and its file's contents. Without a call it cannot be checked."""
    with in_evaluation(module, module.device), quiet():
        cases = _cases(module, call, free=SHAPES.isdisjoint(options)) if call is not None else []
        if program is None:
            example = cases[-1].call if cases else inspect.signature(module.forward).bind_partial()
            program = FORMATS[kind].make(module, example, options)
        file = io.BytesIO()
        FORMATS[kind].write(program, file)
        forward = FORMATS[kind].read(io.BytesIO(file.getvalue()))
        for case in cases:
            with _stage(f"it differs on a batch of {_size(case.call)}"):
                case.compare(forward)
    return program, file.getvalue()


@dataclass(frozen=True)
class Case:
    """A call, and what the module answers."""

    call: inspect.BoundArguments
    expected: list[Tensor]

    def compare(self, forward: Callable[..., Any]) -> None:
        """Raise unless ``forward`` answers the same."""
        given = leaves(forward(*(signature.map_tensors(value, Tensor.cpu) for value in self.call.args)))
        for mine, wanted in zip(given, self.expected, strict=True):
            _compare(mine, wanted)


def _cases(module: LightningModule, call: inspect.BoundArguments, free: bool) -> list[Case]:
    """The call with several batch sizes; as it is where the batch size is not ``free``."""
    found = []
    for sized in [_batch_of(call, count) for count in BATCHES] if free else [call]:
        with _stage(f"forward fails on a batch of {_size(sized)}"):
            found.append(Case(sized, [answer.cpu() for answer in leaves(module(*sized.args, **sized.kwargs))]))
    return found


def _size(call: inspect.BoundArguments) -> int:
    """Samples of the call."""
    return max((len(tensor) for tensor in leaves(call.arguments) if tensor.dim()), default=1)


def _batch_of(call: inspect.BoundArguments, count: int) -> inspect.BoundArguments:
    """The call with so many of its samples, repeated where there are fewer."""

    def sized(tensor: Tensor) -> Tensor:
        return tensor[torch.arange(count, device=tensor.device) % len(tensor)] if tensor.dim() else tensor

    changed = OrderedDict((name, signature.map_tensors(value, sized)) for name, value in call.arguments.items())
    return inspect.BoundArguments(call.signature, changed)


def _compare(given: Tensor, wanted: Tensor) -> None:
    """Raise unless both agree to within what rounding explains, measured by the largest number wanted."""
    if given.shape != wanted.shape or given.dtype != wanted.dtype:
        raise ExportFailed(f"it gives {_described(given)} where the module gives {_described(wanted)}")
    mine, right = given.double(), wanted.double()
    largest = right.abs().nan_to_num(posinf=0).amax().item() if right.numel() else 0.0
    rounding = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 2e-2
    allowed = rounding * max(1.0, largest) if wanted.is_floating_point() else 0.0
    if not torch.allclose(mine, right, rtol=0, atol=allowed, equal_nan=True):
        off = (mine - right).abs().max().item()
        raise ExportFailed(f"the answer is off by {off:.3g}, and at most {allowed:.3g} is allowed")


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


@contextmanager
def _stage(what: str) -> Iterator[None]:
    """Whatever torch or ``forward`` raises, as one sentence with the first cause."""
    try:
        yield
    except LeydenError as error:
        raise ExportFailed(f"{what}: {error}") from error
    except ImportError as error:
        raise ExportFailed(f"{what}: {error.name or error} is not installed") from error
    except Exception as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        lines = str(first).strip().splitlines()
        raise ExportFailed(f"{what}: {type(first).__name__}: {lines[0] if lines else ''}") from error
