"""Random number generators: seeding, snapshots that a checkpoint can hold, and isolation."""

import os
import random
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch

from leyden.errors import bad_value

SEED_VARIABLE = "PL_GLOBAL_SEED"
"""Where the seed is kept for sampler orders and child processes; Lightning's name, so that scripts may set either."""

WORKERS_VARIABLE = "PL_SEED_WORKERS"
MAX_SEED = 2**32 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy and torch, and remember the seed for sampler orders. Returns the seed.

    ``None`` takes the seed from the environment variable ``PL_GLOBAL_SEED``, else 0. ``workers`` also seeds the three
    in each worker of a data loader, other than in the workers of other ranks: see :func:`seed_worker`.
    """
    given = seed if seed is not None else os.environ.get(SEED_VARIABLE, "0")
    try:
        chosen = int(given)
    except ValueError:
        raise bad_value("seed", given, f"an integer between 0 and {MAX_SEED}") from None
    if not 0 <= chosen <= MAX_SEED:
        raise bad_value("seed", chosen, f"an integer between 0 and {MAX_SEED}")
    os.environ[SEED_VARIABLE] = str(chosen)
    os.environ[WORKERS_VARIABLE] = str(int(workers))
    random.seed(chosen)
    numpy.random.seed(chosen)
    torch.manual_seed(chosen)
    if verbose:
        print(f"Seed set to {chosen}")
    return chosen


def seed_again() -> None:
    """Put all generators to the seed of :func:`seed_everything`, if there was one."""
    if SEED_VARIABLE in os.environ:
        seed_everything(workers=seeds_workers(), verbose=False)


def seeds_workers() -> bool:
    """Whether :func:`seed_everything` was asked to seed the workers of data loaders."""
    return os.environ.get(WORKERS_VARIABLE) == "1"


def seed_worker(worker: int, rank: int) -> None:
    """A ``worker_init_fn``: seeds from those of the run, the worker and the rank, the same that Lightning takes.

    They are numbers of Knuth's linear congruential generator (MMIX), which starts from all three, mixed by the last
    steps of MurmurHash3; for NumPy its own ``SeedSequence`` of them.
    """
    run = torch.initial_seed() - worker
    state = (run << 32) | (worker << 16) | rank
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        state = ((state ^ (state >> 33)) * factor) & (2**64 - 1)
    state ^= state >> 33
    seeds = []
    for _ in range(3):
        state = (state * 6364136223846793005 + 1) & (2**64 - 1)
        seeds.append(state)
    torch.manual_seed(seeds[0])
    random.seed((seeds[1] << 32) | seeds[2])
    numpy.random.seed(numpy.random.SeedSequence([run, worker, rank]).generate_state(4))


def global_seed() -> int:
    """The seed that orders samples across ranks: that of :func:`seed_everything`, else 0."""
    return int(os.environ.get(SEED_VARIABLE, "0"))


def seed_host(seed: int) -> None:
    """Seed Python, NumPy, and torch on the CPU alone, where ``torch.manual_seed`` would seed devices too."""
    random.seed(seed)
    numpy.random.seed(seed % (MAX_SEED + 1))
    torch.default_generator.manual_seed(seed)


def snapshot(device: torch.device | None = None) -> dict[str, Any]:
    """The state of all generators of this process, of types that ``torch.load(weights_only=True)`` reads."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = numpy.random.get_state()
    state: dict[str, Any] = {
        "python": (version, array("I", numbers).tobytes(), gauss),
        "numpy": (name, numpy.asarray(keys).tobytes(), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if device is not None and device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: dict[str, Any], device: torch.device | None = None) -> None:
    """Put all generators back to a :func:`snapshot`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(array("I", numbers)), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    numpy.random.set_state((name, numpy.frombuffer(keys, "uint32"), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


@contextmanager
def isolated(device: torch.device | None = None) -> Iterator[None]:
    """Leave all generators as they were found."""
    before = snapshot(device)
    try:
        yield
    finally:
        restore(before, device)
