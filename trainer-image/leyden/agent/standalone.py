"""One node without a coordinator: what ``torchrun --standalone --nproc-per-node N`` does, for a laptop."""

import os
import signal
import socket
import threading
import time
from typing import Literal

from leyden.agent.ranks import Ranks, warm_up
from leyden.agent.settings import Settings
from leyden_contract import exit_codes
from leyden_contract.launch import Run, ScriptRun
from leyden_contract.wire import JoinRequest, RoundAssignment

POLL_SECONDS = 0.1


def run(script: str, arguments: list[str], processes: int, lightning: Literal["installed", "leyden"]) -> int:
    """Run the ranks of a script to their end. The first failure ends all, and its exit code is ours."""
    request = JoinRequest(pod="local", pod_uid="local", index=0, address="127.0.0.1", local_world_size=processes)
    settings = Settings(
        run=Run(script=ScriptRun(path=script, args=tuple(arguments)), lightning=lightning),
        run_id=f"local-{os.getpid()}",
        coordinator="",
        token="",
        request=request,
    )
    place = RoundAssignment(
        round=0,
        node_rank=0,
        nodes=1,
        rank_offset=0,
        world_size=processes,
        master_address=request.address,
        master_port=_free_port(),
        budget_left=0,
    )
    told_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_end.set())
    warm_up(processes)
    ranks = Ranks(settings, place)
    ranks.start()
    try:
        return _watch(ranks, told_to_end)
    finally:
        ranks.kill()


def _watch(ranks: Ranks, told_to_end: threading.Event) -> int:
    give_up_at: float | None = None
    while not ranks.done:
        ranks.wait(POLL_SECONDS)
        if told_to_end.is_set() and give_up_at is None:
            ranks.ask_to_stop()
            give_up_at = time.monotonic() + ranks.settings.stop_seconds
        if failures := ranks.failures():
            print(f"rank {failures[0].rank} failed: {failures[0].reason}: {failures[0].message}")
            return failures[0].exit_code or 1
        if give_up_at is not None and time.monotonic() > give_up_at:
            break
    return exit_codes.FINISHED if ranks.finished else exit_codes.STOPPED


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
