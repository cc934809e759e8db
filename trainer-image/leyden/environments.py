"""Who started this process, and its place among the others: from the variables of torchrun, Leyden's agent or SLURM.

Everything here is a function of a mapping of variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from leyden.errors import MisconfigurationError, bad_value

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What every launcher of torch programs sets; ``LOCAL_WORLD_SIZE`` comes with them or is 1."""

INTERACTIVE_JOBS = ("bash", "interactive")
"""SLURM's names of jobs that are somebody's shell: what is typed there was not started by ``srun``."""

FIRST_SLURM_PORT = 15000


@dataclass(frozen=True)
class World:
    """This process's place among all."""

    global_rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> World:
        """The place that a launcher's variables give. Raises ``MisconfigurationError`` for what is no number."""
        rank, local, world = (_number(variables, name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
        return cls(rank, local, world, _number(variables, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in variables else 1)


@runtime_checkable
class ClusterEnvironment(Protocol):
    """An object of the user's that knows this process's place; the methods are those of Lightning's class."""

    @property
    def main_address(self) -> str: ...
    @property
    def main_port(self) -> int: ...
    def global_rank(self) -> int: ...
    def local_rank(self) -> int: ...
    def world_size(self) -> int: ...


def of_cluster(cluster: ClusterEnvironment, processes_per_node: int) -> dict[str, str]:
    """torchrun's variables as a user's object says them."""
    here = getattr(cluster, "local_world_size", lambda: processes_per_node)
    return {
        "RANK": str(cluster.global_rank()),
        "LOCAL_RANK": str(cluster.local_rank()),
        "WORLD_SIZE": str(cluster.world_size()),
        "LOCAL_WORLD_SIZE": str(here()),
        "MASTER_ADDR": cluster.main_address,
        "MASTER_PORT": str(cluster.main_port),
    }


def launched(variables: Mapping[str, str]) -> dict[str, str] | None:
    """torchrun's variables, as they are or as SLURM's say them; ``None`` where this process was started by itself."""
    return of_torchrun(variables) or (of_slurm(variables) if started_by_srun(variables) else None)


def of_torchrun(variables: Mapping[str, str]) -> dict[str, str] | None:
    """torchrun's variables, where all are there."""
    if not all(name in variables for name in LAUNCHER_VARIABLES):
        return None
    return {name: variables[name] for name in (*LAUNCHER_VARIABLES, "LOCAL_WORLD_SIZE") if name in variables}


def started_by_srun(variables: Mapping[str, str]) -> bool:
    """Whether this process is a task of a SLURM job's step."""
    # A batch script has its job's variables too, but only what srun starts belongs to a step.
    step = "SLURM_STEP_ID" in variables or "SLURM_STEPID" in variables
    return step and "SLURM_NTASKS" in variables and variables.get("SLURM_JOB_NAME") not in INTERACTIVE_JOBS


def of_slurm(variables: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables as SLURM's say them. Raises ``MisconfigurationError`` where those are missing."""
    tasks = _number(variables, "SLURM_NTASKS")
    nodes = variables.get("SLURM_STEP_NODELIST") or variables.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    port = FIRST_SLURM_PORT + int(variables.get("SLURM_JOB_ID", "0")[-4:])
    return {
        "RANK": str(_number(variables, "SLURM_PROCID")),
        "LOCAL_RANK": str(_number(variables, "SLURM_LOCALID")),
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(_tasks_of_this_node(variables, tasks)),
        "MASTER_ADDR": variables.get("MASTER_ADDR") or first_host(nodes),
        "MASTER_PORT": variables.get("MASTER_PORT") or str(port),
    }


def first_host(nodes: str) -> str:
    """The first host of SLURM's list: ``gpu[07-09,12],login`` gives ``gpu07``."""
    found = re.match(r"([^\[,\s]+)(?:\[([^\],-]+)[^\]]*\]([^,\s]*))?", nodes)
    if found is None:
        raise bad_value("SLURM_JOB_NODELIST", nodes, "a list of hosts, like 'gpu[01-04]'")
    return "".join(part or "" for part in found.groups())


def _tasks_of_this_node(variables: Mapping[str, str], tasks: int) -> int:
    """SLURM writes ``4(x2),3`` for two nodes of four tasks and one of three."""
    written = variables.get("SLURM_STEP_TASKS_PER_NODE") or variables.get("SLURM_TASKS_PER_NODE")
    if written is None:
        return tasks
    by_node: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", written):
        by_node += [int(count)] * int(times or 1)
    return by_node[_number(variables, "SLURM_NODEID") if len(by_node) > 1 else 0]


def check_size(world: World, devices: int, num_nodes: int) -> None:
    """Whether the processes that were started are those that the Trainer's arguments ask for."""
    if devices != world.local_world_size:
        raise MisconfigurationError(
            f"devices={devices} does not fit: this node runs {world.local_world_size} process(es), which a launcher "
            f"(torchrun, srun) started; start {devices} there, or leave devices='auto'"
        )
    if num_nodes > 1 and devices * num_nodes != world.world_size:
        raise MisconfigurationError(
            f"devices={devices} on num_nodes={num_nodes} does not fit: the launcher started {world.world_size} "
            f"process(es) (WORLD_SIZE, or SLURM_NTASKS), not {devices * num_nodes}"
        )


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, "")
    if not text.isdigit():
        raise bad_value(name, text, "a number of at least 0 in the environment")
    return int(text)
