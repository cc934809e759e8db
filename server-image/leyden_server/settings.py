"""What a server is told: by the operator through the environment, by a person through the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from leyden_contract import environment
from leyden_contract.manifest import ModelFormat
from leyden_server.errors import CannotServe

PORT = 8080


class ServerOptions(BaseModel):
    """``spec.server`` of an InferenceService."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """Processes; ``auto``: by the CPU limit, and one on a GPU."""

    timeout_ms: int = Field(default=5000, ge=10, le=600_000)
    """Longest time for one request, reading its body included. Milliseconds."""

    max_body_bytes: int = Field(default=10_485_760, ge=1, le=1_073_741_824)
    """Largest request body."""


class ServerSettings(ServerOptions):
    """Everything that a server is told."""

    path: Path
    """A checkpoint directory, a directory of them, or a single ``.ckpt`` file."""

    step: int | None = None
    """Which checkpoint of a directory of them. Default: the newest complete one."""

    digest: str | None = None
    """The digest that the checkpoint must have."""

    format: ModelFormat = "auto"
    """What is loaded; see :func:`leyden_server.loading.choose_format` for ``auto``."""


def from_environment(
    env: Mapping[str, str], path: Path | None = None, format: ModelFormat | None = None
) -> ServerSettings:
    """Settings from ``LEYDEN_*`` variables; a path and a format given by hand come first.

    Raises:
        CannotServe: a variable is missing or wrong; the message names it.
    """
    where = path or (Path(env[environment.MODEL_DIRECTORY]) if env.get(environment.MODEL_DIRECTORY) else None)
    if where is None:
        raise CannotServe("NoModel", f"no checkpoint is named: give its path, or set {environment.MODEL_DIRECTORY}")
    try:
        options = json.loads(env.get(environment.SERVER) or "{}")
    except json.JSONDecodeError as error:
        raise CannotServe("BadSettings", f"{environment.SERVER} is not JSON: {error}") from None
    told = {
        **options,
        "path": where,
        "step": env.get(environment.MODEL_STEP) or None,
        "digest": env.get(environment.MODEL_DIGEST) or None,
        "format": format or env.get(environment.MODEL_FORMAT) or "auto",
    }
    try:
        return ServerSettings.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise CannotServe("BadSettings", f"{field}={first['input']!r}: {first['msg']}") from None
