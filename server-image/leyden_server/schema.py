"""The OpenAPI schema of a request and of an answer, from the module's signature."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from leyden_contract.manifest import Signature, TensorSpec

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
        outputs=(_fields("Outputs", signature.outputs, empty=True), ...),
        step=(int, Field(description="optimizer steps of the checkpoint that answered")),
        digest=(str, Field(description="digest of the checkpoint that answered")),
    )


def _fields(name: str, specs: tuple[TensorSpec, ...], empty: bool = False) -> Any:
    if len(specs) == 1:
        return nested(specs[0], empty)
    fields: dict[str, Any] = {spec.name: (nested(spec, empty), ...) for spec in specs}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def nested(spec: TensorSpec, nullable: bool = False) -> Any:
    """Lists in lists of numbers, with the lengths that are known. Outputs may hold ``null`` for NaN and infinity."""
    kind: Any = SCALARS["f" if "float" in spec.dtype else spec.dtype[0]]
    if kind is float and nullable:
        kind = float | None
    for size in reversed(spec.shape):
        length = Field(min_length=1) if size is None else Field(min_length=size, max_length=size)
        kind = Annotated[list[kind], length]
    return kind
