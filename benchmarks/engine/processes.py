"""What is measured in fresh processes: import, memory, and how soon a resumed run takes its first new step.

    python benchmarks/engine/processes.py first|resumed raw|leyden|lightning CHECKPOINT BEGAN

is one of them: ``first`` writes the checkpoint, ``resumed`` goes on from it and prints its figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from report import SUBJECTS, Row, over
from subjects import Batches, imported, line

STEPS = 3000


def started(what: str, subject: str, path: str) -> dict[str, float]:
    """The figures of one process."""
    command = [sys.executable, __file__, what, subject, path, str(time.time())]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(printed.splitlines()[-1])
    return figures


def in_processes(rounds: int) -> list[Row]:
    """The rows."""
    found: dict[str, list[dict[str, float]]] = {subject: [] for subject in SUBJECTS}
    with tempfile.TemporaryDirectory() as folder:
        for subject in SUBJECTS:
            started("first", subject, f"{folder}/{subject}.ckpt")
        for _ in range(rounds):
            for subject in SUBJECTS:
                found[subject].append(started("resumed", subject, f"{folder}/{subject}.ckpt"))

    def figures(name: str) -> dict[str, list[float]]:
        return {subject: [one[name] for one in taken] for subject, taken in found.items()}

    imports, memory = figures("import"), figures("megabytes")
    above = {subject: over(memory[subject], memory["raw"], 1) for subject in SUBJECTS[1:]}
    return [
        Row("import above torch, processor time", {name: imports[name] for name in above}, "ms", 60, digits=0),
        Row("process start to the first new step of a resumed run", figures("first step"), "s", digits=2),
        Row(f"resident memory above raw, after {STEPS} steps", {"raw": memory["raw"], **above}, "MB", 40),
    ]


class ByHand:
    """The loop by hand and its checkpoint."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(32, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def first(self, path: str) -> None:
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, path)

    def resumed(self, path: str) -> float:
        """When the first step was done, of all that are taken."""
        kept = torch.load(path, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        first = 0.0
        for batch in Batches(STEPS):
            loss = self.model(batch).sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            first = first or time.time()
        return first


class ByPackage:
    """The same with a library."""

    def __init__(self, package: Any) -> None:
        self.package = package

    def _fit(self, steps: int, path: str | None = None, **options: Any) -> Any:
        quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = self.package.Trainer(**quiet, enable_model_summary=False, **options)
        trainer.fit(line(self.package), Batches(steps), ckpt_path=path)
        return trainer

    def first(self, path: str) -> None:
        self._fit(10, max_epochs=1).save_checkpoint(path)

    def resumed(self, path: str) -> float:
        """When the first step was done, of all that are taken."""
        ended: list[float] = []

        class Ended(self.package.Callback):  # type: ignore[name-defined,misc]  # the base is chosen at run time
            def on_train_batch_end(self, *args: Any) -> None:
                if not ended:
                    ended.append(time.time())

        self._fit(STEPS, path, max_epochs=2, callbacks=Ended())
        return ended[0]


def most_resident() -> float:
    """Megabytes that this process had at most. getrusage() would count what it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    what, subject, path, began = sys.argv[1:]
    torch.set_num_threads(1)
    begin = time.process_time()
    if subject != "raw":
        imported(subject).Trainer  # noqa: B018  # what a program asks for first, which Leyden imports only then
    figures = {"import": 1e3 * (time.process_time() - begin)}
    run = ByHand() if subject == "raw" else ByPackage(sys.modules[subject])
    if what == "first":
        run.first(path)
    else:
        figures["first step"] = run.resumed(path) - float(began)
        figures["megabytes"] = most_resident()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
