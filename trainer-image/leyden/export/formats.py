"""The formats of exports: how a program is made of a module, written to a file, and read again."""

from __future__ import annotations

import inspect
import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from leyden.checkpoint import signature
from leyden.errors import CheckpointCorrupt, bad_value
from leyden.precision import CPU

Forward = Callable[..., Any]
"""Takes the inputs of ``forward`` by position, on the device that it was read for."""

SHAPES = frozenset(("dynamic_shapes", "dynamic_axes"))
"""Options by which a caller says himself which dimensions are free."""

PICKLED = re.compile(r"^data/(aotinductor/|(weights|constants)/(.*\.pt$|custom_obj_|opaque_obj_))")
"""Members of a ``.pt2`` archive that hold, or may hold, more than numbers and JSON."""


@dataclass(frozen=True)
class Format:
    """A kind of export: the file's name in a checkpoint, and how it is made, written and read for a device."""

    file: str
    make: Callable[[Any, inspect.BoundArguments, dict[str, Any]], Any]
    write: Callable[[Any, BinaryIO], object]
    read_for: Callable[[Path | BinaryIO, torch.device], Forward]
    on_devices: bool = True
    """Whether it runs anywhere but on the CPU."""

    def read(self, source: Path | BinaryIO, device: torch.device = CPU) -> Forward:
        """What answers as the module did. ``device``: where its inputs will be."""
        return self.read_for(source, device)


def leaves(value: Any) -> list[Tensor]:
    """The tensors in dicts, lists and tuples, in their order."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in leaves(item)]


@contextmanager
def quiet() -> Iterator[None]:
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
    if not SHAPES.isdisjoint(options):
        return options
    batch = torch.export.Dim("batch")
    return {"dynamic_shapes": {name: _shapes(value, batch) for name, value in call.arguments.items()}, **options}


def _make_exported(module: Any, call: inspect.BoundArguments, options: dict[str, Any]) -> Any:
    program = torch.export.export(module, call.args, call.kwargs, **_dynamic(call, options))
    if module.device != CPU:
        program = _moved(program, CPU)
    program.example_inputs = None  # the file shall not hold samples of the training data
    return program


def _moved(program: Any, device: torch.device) -> Any:
    """The program on a device, with what it makes there itself."""
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, str(device))


def _read_exported(source: Path | BinaryIO, device: torch.device) -> Forward:
    _refuse_pickles(source)
    program = torch.export.load(str(source) if isinstance(source, Path) else source)
    forward: Forward = (_moved(program, device) if device != CPU else program).module()
    return forward


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
        raise bad_value("dynamo", False, "True: torch's older exporter has no counterpart of the free batch size")
    names = {
        "input_names": list(call.arguments),
        "output_names": list(signature.named_outputs(module(*call.args, **call.kwargs))),
    }
    chosen = {"verbose": False, "external_data": False, **names, **_dynamic(call, options)}
    return torch.onnx.export(module, call.args, kwargs=call.kwargs, **chosen)


def _read_onnx(source: Path | BinaryIO, device: torch.device) -> Forward:
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


def _read_torchscript(source: Path | BinaryIO, device: torch.device) -> Forward:
    with quiet():
        forward: Forward = torch.jit.load(source, map_location=device)  # type: ignore[no-untyped-call]  # as above
    return forward


FORMATS = {
    "exported": Format("model.pt2", _make_exported, torch.export.save, _read_exported),
    "onnx": Format("model.onnx", _make_onnx, lambda program, file: program.save(file), _read_onnx, on_devices=False),
    "torchscript": Format("model.torchscript", _make_torchscript, torch.jit.save, _read_torchscript),
}
