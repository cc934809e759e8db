"""Exports: ``forward`` as a file that answers without the module's code, checked against the module itself.

A program shares its weights with the module that it was made of. So the one that was made for a run's first checkpoint
writes the weights of the moment for all later ones, which takes milliseconds where making it takes seconds. Where it
answers otherwise than the module does by then, because something else was baked in, it is made anew.
"""

from __future__ import annotations

import inspect
import io
import json
import logging
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from leyden.checkpoint import signature
from leyden.errors import CheckpointCorrupt, ExportFailed, bad_value

if TYPE_CHECKING:
    from leyden.module import LightningModule

UNKNOWN_INPUTS = "what forward takes is not known: set example_input_array to an input of it"

BATCHES = (1, 2, 7)
"""Batch sizes with which an export must answer as the module does."""

_SHAPES = {"dynamic_shapes", "dynamic_axes"}
"""Options by which a caller says himself which dimensions are free."""

Forward = Callable[..., Any]
"""Takes the inputs of ``forward`` by position, on the CPU."""

PICKLED = re.compile(r"^data/(aotinductor/|(weights|constants)/(.*\.pt$|custom_obj_|opaque_obj_))")
"""Members of a ``.pt2`` archive that hold, or may hold, more than numbers and JSON."""


@dataclass(frozen=True)
class Format:
    """A kind of export: the file's name in a checkpoint, and how it is made, written and read."""

    file: str
    make: Callable[[Any, inspect.BoundArguments, dict[str, Any]], Any]
    write: Callable[[Any, BinaryIO], object]
    read: Callable[[Path | BinaryIO], Forward]


def export(module: LightningModule, kind: str, sample: Any, file: Any = None, **options: Any) -> Any:
    """The module's program in a format, checked, and written to ``file``, a path or an open binary file.

    ``sample``: input of ``forward`` as ``example_input_array`` has it, which is the default; in a run, it may be what
    ``forward`` has seen. ``options`` go to torch's exporter. Raises ``ExportFailed``.
    """
    with _failing(_cannot(module, kind)):
        call = _call(module, sample)
    if call is None and options.get("method") != "script":
        raise ExportFailed(f"{_cannot(module, kind)}: {UNKNOWN_INPUTS}")
    program, data = _export(module, kind, call, options)
    if hasattr(file, "write"):
        file.write(data)
    elif file is not None:
        Path(file).write_bytes(data)
    return program


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
    what = _cannot(module, kind)
    with signature.undisturbed(module), _quiet():
        cases = (
            _cases(module, call, [None] if _SHAPES & options.keys() else list(BATCHES), what)
            if call is not None
            else []
        )
        with _failing(what):
            if program is None:
                example = cases[-1][0] if cases else inspect.signature(module.forward).bind_partial()
                program = FORMATS[kind].make(module, example, options)
            file = io.BytesIO()
            FORMATS[kind].write(program, file)
            forward = FORMATS[kind].read(io.BytesIO(file.getvalue()))
        for example, expected in cases:
            with _failing(f"{what}: it differs on a batch of {_count(example)}"):
                given = leaves(forward(*(signature.map_tensors(value, Tensor.cpu) for value in example.args)))
                for mine, wanted in zip(given, expected, strict=True):
                    _compare(mine, wanted)
    return program, file.getvalue()


def _cases(
    module: LightningModule, call: inspect.BoundArguments, counts: list[int | None], what: str
) -> list[tuple[inspect.BoundArguments, list[Tensor]]]:
    """Calls with several batch sizes, ``None`` for the call as it is, and what the module answers."""
    found = []
    for count in counts:
        sized = call if count is None else _batch_of(call, count)
        with _failing(f"{what}: forward fails on a batch of {_count(sized)}"):
            found.append((sized, [answer.cpu() for answer in leaves(module(*sized.args, **sized.kwargs))]))
    return found


def _count(call: inspect.BoundArguments) -> int:
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
        raise ValueError(f"it gives {_kind(given)} where the module gives {_kind(wanted)}")
    mine, right = given.double(), wanted.double()
    largest = right.abs().nan_to_num(posinf=0).amax().item() if right.numel() else 0.0
    rounding = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 2e-2
    allowed = rounding * max(1.0, largest) if wanted.is_floating_point() else 0.0
    if not torch.allclose(mine, right, rtol=0, atol=allowed, equal_nan=True):
        off = (mine - right).abs().max().item()
        raise ValueError(f"the answer is off by {off:.3g}, and at most {allowed:.3g} is allowed")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def leaves(value: Any) -> list[Tensor]:
    """The tensors in dicts, lists and tuples, in their order."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if hasattr(value, "values") else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in leaves(item)]


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Whatever torch or ``forward`` raises, as one sentence with the first cause."""
    try:
        yield
    except ImportError as error:
        raise ExportFailed(f"{what}: {error.name or error} is not installed") from error
    except Exception as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        lines = str(first).strip().splitlines()
        raise ExportFailed(f"{what}: {type(first).__name__}: {lines[0] if lines else ''}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """torch says on these occasions that TorchScript is no longer developed, and that torchvision is missing."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registry.setLevel(level)


# The formats.


def _shapes(value: Any, batch: Any) -> Any:
    """The first dimension of each tensor is the batch."""
    if isinstance(value, Tensor):
        return {0: batch} if value.dim() else None
    if isinstance(value, dict):
        return {key: _shapes(item, batch) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shapes(item, batch) for item in value)
    return None


def _dynamic(call: inspect.BoundArguments, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with a free batch size where they say nothing of shapes."""
    if _SHAPES & options.keys():
        return options
    batch = torch.export.Dim("batch")
    return {"dynamic_shapes": {name: _shapes(value, batch) for name, value in call.arguments.items()}, **options}


def _make_exported(module: Any, call: inspect.BoundArguments, options: dict[str, Any]) -> Any:
    program = torch.export.export(module, call.args, call.kwargs, **_dynamic(call, options))
    if module.device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, "cpu")
    program.example_inputs = None  # the file shall not hold samples of the training data
    return program


def _read_exported(source: Path | BinaryIO) -> Forward:
    _refuse_pickles(source)
    program: Forward = torch.export.load(str(source) if isinstance(source, Path) else source).module()
    return program


def _refuse_pickles(source: Path | BinaryIO) -> None:
    """Raise where ``torch.export.load`` would unpickle something. Its JSON still is as good as code: see the docs."""
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            member = name.partition("/")[2]
            if PICKLED.match(member) or (member.endswith("_config.json") and _says_pickled(archive.read(name))):
                raise CheckpointCorrupt(f"{member} is pickled, and is not read because that could run code")
            if member.startswith("data/sample_inputs/") and (samples := archive.read(name)):
                torch.load(io.BytesIO(samples), weights_only=True)
    if not isinstance(source, Path):
        source.seek(0)


def _says_pickled(config: bytes) -> bool:
    return any(entry.get("use_pickle") for entry in json.loads(config).get("config", {}).values())


def _make_onnx(module: Any, call: inspect.BoundArguments, options: dict[str, Any]) -> Any:
    if options.get("dynamo") is False:
        raise bad_value("dynamo", False, "True: torch's exporter of old has no counterpart of the free batch size")
    names = {
        "input_names": list(call.arguments),
        "output_names": list(signature.named_outputs(module(*call.args, **call.kwargs))),
    }
    chosen = {"verbose": False, "external_data": False, **names, **_dynamic(call, options)}
    return torch.onnx.export(module, call.args, kwargs=call.kwargs, **chosen)


def _read_onnx(source: Path | BinaryIO) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    model = str(source) if isinstance(source, Path) else source.read()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def forward(*inputs: Any) -> list[Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(names, leaves(inputs), strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, feed)]

    return forward


def _make_torchscript(module: Any, call: inspect.BoundArguments, options: dict[str, Any]) -> Any:
    others = {name: value for name, value in options.items() if name != "method"}
    trainer = module._trainer
    module._trainer = trainer or object()  # TorchScript asks for every attribute, and `trainer` must not raise
    try:
        if options.get("method") == "trace":
            return torch.jit.trace(module, call.args, **others)  # type: ignore[no-untyped-call]  # torch has no types here
        return torch.jit.script(module, **others)
    finally:
        module._trainer = trainer


def _read_torchscript(source: Path | BinaryIO) -> Forward:
    with _quiet():
        forward: Forward = torch.jit.load(source, map_location="cpu")  # type: ignore[no-untyped-call]  # as above
    return forward


FORMATS = {
    "exported": Format(
        "model.pt2", _make_exported, lambda program, file: torch.export.save(program, file), _read_exported
    ),
    "onnx": Format("model.onnx", _make_onnx, lambda program, file: program.save(file), _read_onnx),
    "torchscript": Format(
        "model.torchscript",
        _make_torchscript,
        lambda program, file: torch.jit.save(program, file),
        _read_torchscript,
    ),
}


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
                found[kind] = self._file(module, kind, traced)
            except ExportFailed as error:
                self._given_up.add(kind)
                warn(f"checkpoints are committed without their {kind} export: {error}")
        return found

    def _file(self, module: LightningModule, kind: str, traced: signature.Traced | None) -> bytes:
        if traced is None:
            raise ExportFailed(f"{_cannot(module, kind)}: {UNKNOWN_INPUTS}")
        if any(hasattr(parameter, "full_tensor") for parameter in module.parameters()):
            raise ExportFailed(f"{_cannot(module, kind)}: its parameters are spread over the ranks")
        made = self._programs.get(kind)
        try:
            self._programs[kind], data = _export(module, kind, traced.call, {}, made)
        except ExportFailed:
            if made is None:
                raise
            self._programs[kind], data = _export(module, kind, traced.call, {})
        return data
