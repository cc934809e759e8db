"""The process groups of this process: torch's own, and a gloo group for small messages, also beside NCCL.

They last until the process ends, not for one run: the next run (a test after a fit) needs them again, and a rank that
opened them while another still closes its own would meet a broken connection.
"""

from __future__ import annotations

import atexit
import gc
from datetime import timedelta
from typing import Any

import torch
import torch.distributed.nn.functional  # before a group is there: as a default argument it would hold it for ever
from torch import distributed as dist
from torch._C._distributed_c10d import HashStore

from leyden.launch import failing

_control: dist.ProcessGroup | None = None
_control_of: Any = None
"""The group that ``_control`` was made beside. A program may close that one and open another."""

_ours = False
"""Whether this module opened torch's group, and so has to close it."""


def join(backend: str, timeout: timedelta, device: torch.device | None, world_size: int) -> None:
    """Meet the other ranks, unless that is done already. A collective call."""
    global _control, _control_of, _ours
    if not dist.is_initialized():
        # A process that is alone needs no address to meet others at.
        alone: dict[str, Any] = {"store": HashStore(), "rank": 0, "world_size": 1} if world_size == 1 else {}
        dist.init_process_group(backend, timeout=timeout, device_id=device, **alone)
        _ours = True
    if _control_of is not dist.group.WORLD:
        group = dist.new_group(backend="gloo", timeout=timeout)
        assert isinstance(group, dist.ProcessGroup), "every rank is in it"
        _control, _control_of = group, dist.group.WORLD
        atexit.unregister(_leave)
        atexit.register(_leave)


def control() -> dist.ProcessGroup | None:
    """The gloo group; ``None`` before :func:`join`."""
    return _control


def _leave() -> None:
    """Close the groups and wait for their threads.

    A thread of gloo's that lets go of its last tensor takes the interpreter's lock for that, and one that does so while
    the interpreter ends aborts the process (before Python 3.14). torch ends the threads with the last reference to
    their group, so nothing else here may hold one.
    """
    global _control, _control_of
    # A rank that fails may leave calls of the others unanswered; to say goodbye it would wait for them.
    if failing():
        return
    if _ours and dist.is_initialized():
        dist.destroy_process_group()
    _control = _control_of = None
    gc.collect()
