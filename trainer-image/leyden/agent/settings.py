"""What the agent is told by its pod's environment or, alone, by its command line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

from pydantic import ValidationError

from leyden.agent import machine
from leyden_contract import environment
from leyden_contract.launch import Run
from leyden_contract.wire import JoinRequest


class BadSetting(Exception):
    """A setting is missing or wrong; the message names it."""


@dataclass(frozen=True)
class Settings:
    """One agent's configuration."""

    run: Run
    run_id: str
    coordinator: str
    token: str
    request: JoinRequest
    directory: Path = field(default_factory=lambda: Path(gettempdir()) / f"leyden-{os.getpid()}")
    """Holds one directory per round and local rank."""


def from_environment(values: Mapping[str, str]) -> Settings:
    """The settings that the operator wrote into the pod. Raises :class:`BadSetting`."""
    index = _number(environment.NODE_INDEX, _required(values, environment.NODE_INDEX), 0)
    request = JoinRequest(
        pod=_required(values, environment.POD_NAME),
        pod_uid=_required(values, environment.POD_UID),
        node=values.get(environment.NODE_NAME, ""),
        index=index,
        address=_required(values, environment.POD_IP),
        local_world_size=processes(values.get(environment.PROCESSES_PER_NODE) or "auto"),
    )
    return Settings(
        run=_run(_required(values, environment.RUN)),
        run_id=_required(values, environment.RUN_ID),
        coordinator=_required(values, environment.COORDINATOR),
        token=_required(values, environment.TOKEN),
        request=request,
    )


def processes(given: str) -> int:
    """Ranks on this node: ``auto`` is one per GPU, and one where there is none."""
    if given == "auto":
        return machine.gpus() or 1
    return _number(environment.PROCESSES_PER_NODE, given, 1)


def _run(text: str) -> Run:
    try:
        return Run.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(("run", *map(str, problem["loc"])))
        raise BadSetting(f"{environment.RUN}: {where}: {problem['msg']}") from error


def _required(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise BadSetting(f"{name} is not set")
    return values[name]


def _number(name: str, given: str, least: int) -> int:
    if not given.isdecimal() or int(given) < least:
        raise BadSetting(f"{name}={given!r} is not allowed: it must be an integer of at least {least}")
    return int(given)
