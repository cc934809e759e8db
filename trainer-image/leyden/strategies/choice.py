"""The strategy, device and place of a run, from the Trainer's arguments and from who started the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from leyden import environments, launch
from leyden.environments import ClusterEnvironment, World
from leyden.errors import MisconfigurationError, at_least, bad_value, one_of
from leyden.strategies.base import SingleDeviceStrategy, Strategy
from leyden.strategies.ddp import DDPStrategy
from leyden.strategies.distributed import DistributedStrategy
from leyden.strategies.fsdp import FSDPStrategy
from leyden.strategies.xla import SingleDeviceXLAStrategy, xla_device

STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "single_device": SingleDeviceStrategy,
    "ddp": DDPStrategy,
    "ddp_find_unused_parameters_true": partial(DDPStrategy, find_unused_parameters=True),
    "ddp_find_unused_parameters_false": partial(DDPStrategy, find_unused_parameters=False),
    "fsdp": FSDPStrategy,
}
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "tpu")


def choose_strategy(
    strategy: Any, accelerator: Any, devices: Any, num_nodes: Any, cluster: ClusterEnvironment | None = None
) -> Strategy:
    """The strategy for a Trainer's arguments, ready to connect. Raises ``MisconfigurationError`` by argument."""
    launch.follow_sibling()
    chosen = _named(strategy)
    kind = choose_accelerator(accelerator)
    num_nodes = at_least("num_nodes", num_nodes, 1)
    wanted = device_indices(devices, torch.cuda.device_count() if kind == "cuda" else None)
    variables = _launched(cluster, wanted)
    if variables is not None:
        world = World.of(variables)
        if wanted is not None:
            environments.check_size(world, len(wanted), num_nodes)
        os.environ.update(variables)
    else:
        wanted = wanted or _all_devices(kind, chosen)
        world = _first_of(wanted, num_nodes)
    chosen = chosen if chosen is not None else (DDPStrategy() if world.world_size > 1 else SingleDeviceStrategy())
    if world.world_size > 1 and not isinstance(chosen, DistributedStrategy):
        raise bad_value("strategy", strategy, f"'auto', 'ddp' or 'fsdp' with {world.world_size} processes")
    chosen.world = world
    chosen.device_ids = wanted or list(range(world.local_world_size))
    if kind == "xla":
        chosen = _on_tpu(strategy, world)
    else:
        chosen.device = _device(kind, wanted[world.local_rank] if wanted is not None else world.local_rank)
    if variables is None and world.world_size > 1:
        chosen.siblings = launch.Siblings(world)
    return chosen


def _named(strategy: Any) -> Strategy | None:
    """A new strategy by name, or the user's own; ``None`` for ``auto``."""
    if isinstance(strategy, Strategy):
        return strategy
    if isinstance(strategy, str) and strategy.startswith(("ddp_spawn", "ddp_fork", "ddp_notebook")):
        raise bad_value("strategy", strategy, "'ddp', which runs the script once more for each process")
    if strategy == "auto":
        return None
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise one_of("strategy", strategy, ("auto", *STRATEGIES))
    return STRATEGIES[strategy]()


def choose_accelerator(accelerator: Any) -> str:
    """``cpu``, ``cuda`` or ``xla``."""
    if accelerator == "mps":
        raise bad_value("accelerator", accelerator, "'cpu': Apple's GPUs are not supported")
    if accelerator not in ACCELERATORS:
        raise one_of("accelerator", accelerator, ACCELERATORS)
    if accelerator == "tpu":
        return "xla"
    found = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not found:
        raise bad_value("accelerator", accelerator, "'cpu' or 'auto' on this machine: torch finds no CUDA device")
    return "cuda" if found and accelerator != "cpu" else "cpu"


def device_indices(devices: Any, available: int | None) -> list[int] | None:
    """The devices of this node: 2 and "2" are the first two, [1, 3] and "1,3" those; ``None`` for as many as suit.

    ``available``: how many there are, where that limits them.
    """
    if devices in ("auto", -1, "-1"):
        return None
    found: Any = devices
    if isinstance(devices, str):
        parts = [part.strip() for part in devices.split(",") if part.strip()]
        numbers = [int(part) for part in parts if part.isdigit()]
        found = None if len(numbers) < len(parts) else (numbers if "," in devices else sum(numbers))
    if isinstance(found, int) and not isinstance(found, bool):
        found = list(range(found))
    well = isinstance(found, (list, tuple)) and all(type(index) is int and index >= 0 for index in found)
    if not well or not found or len(set(found)) < len(found):
        raise bad_value("devices", devices, "'auto', a number of at least 1, or a list of different device indices")
    if available is not None and max(found) >= available:
        raise bad_value("devices", devices, f"among the {available} CUDA device(s) that torch finds here")
    return list(found)


def _launched(cluster: ClusterEnvironment | None, wanted: list[int] | None) -> Mapping[str, str] | None:
    """What a launcher says of this process; ``None`` where it is by itself."""
    if cluster is not None:
        elsewhere = getattr(cluster, "creates_processes_externally", True)
        return environments.of_cluster(cluster, len(wanted or [0])) if elsewhere else None
    if wanted is not None and len(wanted) == 1 and launch.started_by_a_sibling():
        return None  # A second Trainer of a script that runs on several devices may well take one of its own.
    return environments.launched(os.environ)


def _all_devices(kind: str, chosen: Strategy | None) -> list[int]:
    """All that a Trainer may take without being told: of CUDA devices, where several processes can be started."""
    several = kind == "cuda" and not isinstance(chosen, SingleDeviceStrategy) and launch.can_run_again()
    return list(range(torch.cuda.device_count())) if several else [0]


def _first_of(devices: list[int], num_nodes: int) -> World:
    """The place of a process that starts the others of its node by itself."""
    if len(devices) > 1 and not launch.can_run_again():
        raise MisconfigurationError(
            f"devices={len(devices)} needs a program that can be run once more for each process, which a notebook or "
            "prompt is not: move it to a script, or use devices=1"
        )
    node = "0"
    if num_nodes > 1:
        missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise MisconfigurationError(
                f"num_nodes={num_nodes} needs a launcher on every node (`torchrun --nnodes={num_nodes}`, srun, a "
                f"TrainingJob), or {', '.join(missing)} in the environment of each"
            )
        node = os.environ["NODE_RANK"]
    if not node.isdigit() or int(node) >= num_nodes:
        raise bad_value("NODE_RANK", node, f"a number from 0 to {num_nodes - 1} in the environment")
    return World(int(node) * len(devices), 0, num_nodes * len(devices), len(devices))


def _on_tpu(strategy: Any, world: World) -> Strategy:
    if world.world_size > 1 or strategy not in ("auto", "single_device"):
        raise bad_value("accelerator", "tpu", "used with devices=1 and strategy='auto'")
    chosen = SingleDeviceXLAStrategy()
    chosen.device = xla_device()
    return chosen


def _device(kind: str, index: int) -> torch.device:
    if kind == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device
