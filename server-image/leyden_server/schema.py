"""The OpenAPI schema of a request and of an answer, from the module's signature."""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, create_model

from leyden_contract.manifest import Signature, TensorSpec
from leyden_server.arrays import dtype_of

SCALARS: dict[str, Any] = {"f": float, "b": bool, "i": int, "u": int}


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class Problems(BaseModel):
    """Why a request was refused."""

    detail: list[Problem]


def request_model(signature: Signature) -> type[BaseModel]:
    """``{"inputs": ...}``: nested lists for one input, an object by name for several."""
    config = ConfigDict(extra="forbid", title="Request")
    return create_model("Request", __config__=config, inputs=(_fields("Inputs", signature.inputs), ...))


def answer_model(signature: Signature) -> type[BaseModel]:
    """``{"outputs": ..., "step": ..., "digest": ...}``."""
    return create_model(
        "Answer",
        outputs=(_fields("Outputs", signature.outputs, output=True), ...),
        step=(int, Field(description="optimizer steps of the checkpoint that answered")),
        digest=(str, Field(description="digest of the checkpoint that answered")),
    )


def _fields(name: str, specs: tuple[TensorSpec, ...], output: bool = False) -> Any:
    if len(specs) == 1:
        return nested(specs[0], output)
    fields: dict[str, Any] = {spec.name: (nested(spec, output), ...) for spec in specs}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def nested(spec: TensorSpec, output: bool = False) -> Any:
    """Lists in lists of numbers, with the lengths that are known."""
    kind: Any = _output(spec) if output else _input(spec)
    for size in reversed(spec.shape):
        length = Field(min_length=1) if size is None else Field(min_length=size, max_length=size)
        kind = Annotated[list[kind], length]
    return kind


def _output(spec: TensorSpec) -> Any:
    """One number. NaN and infinity become ``null``, as JSON has neither."""
    kind = dtype_of(spec).kind
    return float | None if kind == "f" else SCALARS[kind]


def _input(spec: TensorSpec) -> Any:
    """One number within what its type can hold."""
    wanted = dtype_of(spec)
    if wanted.kind == "b":
        return bool
    if wanted.kind == "f" and wanted.itemsize < 8:
        limit = _least_infinite(wanted)
        return Annotated[float, Field(gt=-limit, lt=limit)]
    range: Any = np.finfo(wanted) if wanted.kind == "f" else np.iinfo(wanted)
    kind: Any = SCALARS[wanted.kind]
    return Annotated[kind, Field(ge=kind(range.min), le=kind(range.max))]


def _least_infinite(narrow: np.dtype[Any]) -> float:
    """The least number that is rounded to infinity: half a step beyond the greatest that the type holds."""
    kind: Any = np.finfo(narrow)
    return math.ldexp(1.0 - float(kind.epsneg) / 2, int(kind.maxexp))
