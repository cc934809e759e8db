"""What the agents run in these tests: an all-reduce a step, as any torchrun script would do it.

With ``--aware`` it keeps Leyden's side of the bargain by hand: step counter, events, and a stop by agreement.
"""

import argparse
import os
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import distributed as dist

from leyden_contract.wire import Checkpoint, Checkpoints, Event, Progress


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--aware", action="store_true")
    parser.add_argument("--raise-at", type=int, default=-1)
    parser.add_argument("--hang-at", type=int, default=-1)
    return parser.parse_args()


class Script:
    """One rank."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.saved = given.log.with_suffix(".saved")
        self.step = int(self.saved.read_text()) if self.saved.exists() else 0
        self.shared = Path(os.environ["LEYDEN_RANK_DIR"])

    def run(self) -> None:
        while self.step < self.given.steps:
            self.one_step()
            if self.step % 10 == 0:
                self.save()
            if self.given.aware and self.agreed_to_stop():
                self.save()
                sys.exit(75)
            time.sleep(0.02)
        self.save()

    def one_step(self) -> None:
        if self.rank == self.world - 1 and self.step == self.given.raise_at:
            raise ValueError("the loss is made of cheese")
        if self.rank == self.world - 1 and self.step == self.given.hang_at:
            time.sleep(3600)
        total = torch.ones(())
        dist.all_reduce(total)
        assert total == self.world
        self.step += 1
        if self.given.aware:
            (self.shared / "step").write_bytes(struct.pack("<q", self.step))
        if self.rank == 0:
            with self.given.log.open("a") as log:
                log.write(f"{time.time()} {os.environ['TORCHELASTIC_RESTART_COUNT']} {self.world} {self.step}\n")

    def agreed_to_stop(self) -> bool:
        asked = torch.tensor(float((self.shared / "stop").exists()))
        dist.all_reduce(asked)
        return bool(asked)

    def save(self) -> None:
        if self.rank:
            return
        beside = self.saved.with_suffix(".new")
        beside.write_text(str(self.step))
        beside.replace(self.saved)
        kept = Checkpoint(step=self.step, directory=f"step-{self.step:012d}", digest="sha256:0")
        for event in (
            Event(progress=Progress(step=self.step, reported_at=datetime.now(UTC))),
            Event(checkpoints=Checkpoints(latest=kept, kept=(kept,))),
        ):
            with (self.shared / "events.jsonl").open("a") as events:
                events.write(event.model_dump_json() + "\n")


if __name__ == "__main__":
    given = arguments()
    dist.init_process_group("gloo")
    Script(given).run()
    dist.destroy_process_group()
