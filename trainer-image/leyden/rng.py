"""Random number generators: seeding, snapshots that a checkpoint can hold, and isolation."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from leyden.errors import bad_value

SEED_VARIABLE = "PL_GLOBAL_SEED"
"""Where the seed is kept for sampler orders and child processes; Lightning's name, so that scripts may set either."""

MAX_SEED = 2**32 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy and torch, and remember the seed for sampler orders. Returns the seed.

    ``None`` takes the seed from the environment variable ``PL_GLOBAL_SEED``, else 0. ``workers`` also makes the
    seed of each data loader worker a function of it, which torch does by itself once the global seed is fixed.
    """
    given = seed if seed is not None else os.environ.get(SEED_VARIABLE, "0")
    try:
        chosen = int(given)
    except ValueError:
        raise bad_value("seed", given, f"an integer between 0 and {MAX_SEED}") from None
    if not 0 <= chosen <= MAX_SEED:
        raise bad_value("seed", chosen, f"an integer between 0 and {MAX_SEED}")
    os.environ[SEED_VARIABLE] = str(chosen)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    random.seed(chosen)
    _numpy().random.seed(chosen)
    torch.manual_seed(chosen)
    if verbose:
        print(f"Seed set to {chosen}")
    return chosen


def seed_again() -> None:
    """Put all generators to the seed of :func:`seed_everything`, if there was one."""
    if SEED_VARIABLE in os.environ:
        seed_everything(workers=os.environ.get("PL_SEED_WORKERS") == "1", verbose=False)


def global_seed() -> int:
    """The seed that orders samples across ranks: that of :func:`seed_everything`, else 0."""
    return int(os.environ.get(SEED_VARIABLE, "0"))


def snapshot(device: torch.device | None = None) -> dict[str, Any]:
    """The state of all generators of this process, of types that ``torch.load(weights_only=True)`` reads."""
    numpy = _numpy()
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = numpy.random.get_state()
    state: dict[str, Any] = {
        "python": (version, torch.from_numpy(numpy.array(numbers, dtype="int64")), gauss),
        "numpy": (name, torch.from_numpy(keys.astype("int64")), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if device is not None and device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: dict[str, Any], device: torch.device | None = None) -> None:
    """Put all generators back to a :func:`snapshot`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    _numpy().random.set_state((name, keys.numpy().astype("uint32"), position, has_gauss, cached))
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


def _numpy() -> Any:
    import numpy  # torch has imported it already, where it is installed

    return numpy
