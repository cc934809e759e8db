"""What all API models share: names, bounds and the markers that :mod:`leyden_operator.crdgen` turns into a CRD."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "leyden.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

NAME_LENGTH = 40
"""Longest name of a job or a service: names of children add up to 23 characters, and a pod's hostname ends at 63."""

MAX_NODES = 1000
QUANTITY = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE])?$"

Json = dict[str, Any]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")]
JobName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
Text = Annotated[str, Field(max_length=1024)]
Word = Annotated[str, Field(max_length=64)]
Seconds = Annotated[int, Field(ge=0, le=315_360_000)]
MAX_METRICS = 64


def _finite(given: object) -> object:
    """JSON has neither NaN nor infinity, and a status has room for so many metrics."""
    if isinstance(given, dict):
        kept = [(name, value) for name, value in given.items() if _finite(value) is not None]
        return dict(kept[:MAX_METRICS])
    return None if isinstance(given, float) and not math.isfinite(given) else given


Metrics = Annotated[dict[str, float], Field(max_length=MAX_METRICS), BeforeValidator(_finite)]
Measure = Annotated[float | None, BeforeValidator(_finite)]


def int_or_string(extra: Json) -> WithJsonSchema:
    """Schema of a field that takes an integer or a string, as Kubernetes writes it."""
    kinds: list[Json] = [{"type": "integer"}, {"type": "string"}]
    return WithJsonSchema({"anyOf": kinds, "x-kubernetes-int-or-string": True, **extra})


Quantity = Annotated[
    str, BeforeValidator(str), Field(pattern=QUANTITY), int_or_string({"pattern": QUANTITY, "maxLength": 32})
]


def rule(cel: str, message: str) -> Json:
    """A validation rule. ``message`` is a CEL expression that yields the sentence shown on refusal."""
    return {"rule": cel, "messageExpression": message}


def rules(*given: Json) -> Json:
    """Schema extra that carries validation rules."""
    return {"x-kubernetes-validations": list(given)}


def frozen_fields(changeable: str, names: Sequence[str]) -> list[Json]:
    """Transition rules that let none of ``names`` change; ``changeable`` says what may."""
    return [
        {
            "rule": f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
            "message": f"spec.{name} cannot be changed in an existing job (only {changeable} can): create a new job",
        }
        for name in names
    ]


class Model(BaseModel):
    """A part of a resource: camelCase in the API, a value in the code. Fields of a newer version are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def to_json(self) -> Json:
        """The API's form, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Metadata(Model):
    """The part of an object's metadata that decisions need."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    creation_timestamp: datetime
    deletion_timestamp: datetime | None = None


class Condition(Model):
    """One aspect of the state. ``reason`` is for programs, ``message`` for people."""

    type: Word
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    message: Text = ""
    observed_generation: int = Field(default=0, ge=0)
    last_transition_time: datetime


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
