"""What a checkpoint costs the step loop: how long it stands still, how long until the file is durable, and how much
slower the steps are meanwhile.

A module whose weights and momentum make up each size is trained on one thread; every so many steps a checkpoint is due.
The plain copy is ``copy_`` of the same tensors into buffers that exist already, at the same place of the same loop.
Lightning 2.6.6 saves beside it, by itself and with its AsyncCheckpointIO. On a GPU the buffers are pinned, and the
clock waits for the device before it is read.

    python benchmarks/checkpoint_stall.py [--megabytes 10 100 400] [--saves 5] [--accelerator gpu]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "trainer-image", "cluster")]

import torch  # noqa: E402  # after the path is set, as leyden needs it
from torch import Tensor, nn  # noqa: E402

from leyden_images.environment import peers  # noqa: E402  # after the path is set

COPY = "plain copy"
BETWEEN_SECONDS = 0.5
"""Training after each save is durable, before the next."""


class Forever:
    """A loader whose epoch the callback ends."""

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.ones(1, 64)


def module_of(package: Any, megabytes: int) -> Any:
    """SGD with momentum has as much state as weights; the layer that computes is small."""

    class Module(package.LightningModule):  # type: ignore[misc]  # the base is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.small = nn.Linear(64, 64)
            parts = max(1, megabytes // 8)
            self.large = nn.ParameterList(torch.zeros(megabytes * 125_000 // parts) for _ in range(parts))

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss = self.small(batch)
            for _ in range(20):
                loss = self.small(loss).tanh()
            return loss.sum() + (sum(part[0] for part in self.large) if batch_idx == 0 else 0)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9)

    return Module()


def now() -> float:
    """The time at which all that the device was told is done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock:
    """Tells steps apart: ordinary ones, those that save, and those while a file is being written."""

    def __init__(self, package: Any, saves: int, save: Callable[[Any], None], durable: Callable[[], bool]) -> None:
        clock = self
        self.steps: list[float] = []
        self.stalls: list[float] = []
        self.durable: list[float] = []
        self.meanwhile: list[float] = []

        class Timing(package.Callback):  # type: ignore[misc]  # as above
            began = 0.0
            saved: float | None = None
            free = 0.0

            def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
                self.began = now()

            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
                ended = now()
                if batch_idx < 20:
                    self.free = ended
                elif self.saved is not None:
                    clock.meanwhile.append(ended - self.began)
                    if durable():
                        clock.durable.append(ended - self.saved)
                        self.saved, self.free = None, ended
                        trainer.should_stop = len(clock.stalls) > saves
                else:
                    clock.steps.append(ended - self.began)
                    if ended - self.free > BETWEEN_SECONDS:
                        self.saved = now()
                        save(trainer)
                        clock.stalls.append(now() - self.saved)

        self.callback = Timing()


def plain_copies() -> tuple[list[Any], Callable[[Any], None], Callable[[], bool]]:
    """What a save can not be faster than: every tensor copied to host memory."""
    buffers: list[Tensor] = []

    def save(trainer: Any) -> None:
        tensors = list(trainer.model.state_dict().values())
        tensors += [state["momentum_buffer"] for state in trainer.optimizers[0].state.values()]
        for tensor in tensors[len(buffers) :]:
            buffers.append(torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda))
        for tensor, buffer in zip(tensors, buffers, strict=True):
            buffer.copy_(tensor, non_blocking=True)

    return [], save, lambda: True


def leyden_saves(folder: Path, asynchronous: bool) -> tuple[list[Any], Callable[[Any], None], Callable[[], bool]]:
    from leyden.callbacks import CheckpointDirectory

    keeper = CheckpointDirectory(folder, every_n_epochs=1000, keep_last=1, asynchronous=asynchronous)
    reached = [0]

    def save(trainer: Any) -> None:
        keeper.save(trainer)
        reached[0] = trainer.global_step

    return [keeper], save, lambda: (folder / f"step-{reached[0]:012d}" / "manifest.json").exists()


def lightning_saves(folder: Path, plugin: Any) -> tuple[list[Any], Callable[[Any], None], Callable[[], bool]]:
    """The file is durable when Lightning's own thread is done with it."""
    path = folder / "one.ckpt"

    def save(trainer: Any) -> None:
        path.unlink(missing_ok=True)
        trainer.save_checkpoint(path)

    return [], save, path.exists


def measure(package: Any, megabytes: int, saves: int, how: str, accelerator: str) -> Clock:
    with tempfile.TemporaryDirectory() as name:
        plugins: dict[str, Any] = {}
        if how == "lightning async":
            from lightning.pytorch.plugins.io import AsyncCheckpointIO

            plugins = {"plugins": [AsyncCheckpointIO()]}
        if how == COPY:
            callbacks, save, durable = plain_copies()
        elif how.startswith("lightning"):
            callbacks, save, durable = lightning_saves(Path(name), plugins)
        else:
            callbacks, save, durable = leyden_saves(Path(name), how == "leyden")
        clock = Clock(package, saves, save, durable)
        trainer = package.Trainer(
            max_epochs=1,
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*callbacks, clock.callback],
            **({} if callbacks else {"enable_checkpointing": False}),
            **plugins,
        )
        trainer.fit(module_of(package, megabytes), Forever())
        return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100, 400])
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.path.append(str(peers(print)))
    import lightning

    import leyden

    ways = {COPY: leyden, "leyden": leyden, "leyden sync": leyden, "lightning": lightning, "lightning async": lightning}
    for megabytes in options.megabytes:
        print(f"{megabytes} MB")
        copy = 0.0
        for how, package in ways.items():
            clock = measure(package, megabytes, options.saves, how, options.accelerator)
            stalls = clock.stalls[1:]  # the first makes the buffers and finds the signature
            copy = copy or statistics.median(stalls)
            slower = statistics.mean(clock.meanwhile) / statistics.mean(clock.steps) - 1
            middle, durable = statistics.median(stalls), statistics.median(clock.durable)
            print(
                f"  {how:16} stall {1e3 * middle:8.2f} ms ({1e3 * min(stalls):.2f} to {1e3 * max(stalls):.2f}; "
                f"first {1e3 * clock.stalls[0]:.1f}) = {middle / copy:5.2f} copies; "
                f"durable after {1e3 * durable:8.1f} ms; steps meanwhile {slower:+.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
