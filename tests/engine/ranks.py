"""Runs a function in several real processes that are ranks of one process group."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import torch

DEADLINE_SECONDS = 120.0


@dataclass
class Ended:
    """How a rank ended: its value, or its exit code, or its traceback."""

    value: Any = None
    exit_code: int | None = None
    error: str = ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _rank(pipe: Connection, env: dict[str, str], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ.update(env)
    torch.set_num_threads(1)
    try:
        ended = Ended(value=function(*args))
    except SystemExit as exit_request:
        ended = Ended(exit_code=int(exit_request.code or 0))
    except BaseException:  # noqa: BLE001  # whatever it is, the test shows it
        ended = Ended(error=traceback.format_exc())
    # As bytes, because a tensor sent as it is lives in this process, which is about to end.
    content = io.BytesIO()
    torch.save(vars(ended), content)
    pipe.send_bytes(content.getvalue())
    pipe.close()
    if torch.distributed.is_initialized() and not ended.error:
        torch.distributed.destroy_process_group()


def run_ranks(
    world_size: int, function: Callable[..., Any], *args: Any, env: Mapping[str, Mapping[str, str]] | None = None
) -> list[Ended]:
    """``function(*args)`` in each of ``world_size`` ranks; ``env`` adds variables by rank (``"0"``).

    The first process of a session imports torch, the others are forked from it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "leyden", "engine.ranks"])
    port = _free_port()
    processes, pipes = [], []
    for rank in range(world_size):
        mine, theirs = context.Pipe(duplex=False)
        variables = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            **(env or {}).get(str(rank), {}),
        }
        process = context.Process(target=_rank, args=(theirs, variables, function, args), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        pipes.append(mine)
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        return [_receive(pipe, process, deadline) for pipe, process in zip(pipes, processes, strict=True)]
    finally:
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()


def _receive(pipe: Connection, process: ForkServerProcess, deadline: float) -> Ended:
    if not pipe.poll(max(0.0, deadline - time.monotonic())):
        return Ended(error=f"no answer within {DEADLINE_SECONDS:.0f} s")
    try:
        content = io.BytesIO(pipe.recv_bytes())
    except EOFError:
        process.join(5)
        return Ended(error=f"the process died without a word, exit code {process.exitcode}")
    return Ended(**torch.load(content, weights_only=True))


def values(ended: list[Ended]) -> list[Any]:
    """The values of ranks that all ended well; fails with what went wrong otherwise."""
    problems = [f"rank {rank}: {e.error or e.exit_code}" for rank, e in enumerate(ended) if e.error or e.exit_code]
    assert not problems, "\n".join(problems)
    return [one.value for one in ended]
