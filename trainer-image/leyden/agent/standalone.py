"""One node without a coordinator: what ``torchrun --standalone --nproc-per-node N`` does, for a laptop."""

import os
import signal
import threading
from typing import Literal

from leyden.agent.machine import free_port
from leyden.agent.ranks import Ranks, warm_up
from leyden.agent.settings import Settings
from leyden_contract import exit_codes
from leyden_contract.launch import Run, ScriptRun
from leyden_contract.wire import JoinRequest, RoundAssignment, in_one_line


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
        master_port=free_port(),
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
    done = False
    while not done and not ranks.overdue:
        ranks.wait()
        if told_to_end.is_set() and ranks.stop_by is None:
            ranks.ask_to_stop()
        done = ranks.done  # before the look at failures: a rank that ends after it is not among them
        if failures := ranks.failures():
            print(f"rank {failures[0].rank} failed: {in_one_line(failures[0].reason, failures[0].message)}")
            return failures[0].exit_code or 1
    return exit_codes.FINISHED if ranks.finished else exit_codes.STOPPED
