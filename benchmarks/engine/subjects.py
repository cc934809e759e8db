"""The programs that are measured, by hand and as a module of either library."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "trainer-image", "cluster", "examples/textlm")]

import torch  # noqa: E402  # after the path is set, as leyden needs it
from report import Spent, Watch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from leyden_images.environment import peers  # noqa: E402  # after the path is set

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def packages() -> dict[str, ModuleType]:
    """Both libraries, by subject."""
    return {name: imported(name) for name in ("leyden", "lightning")}


def imported(name: str) -> ModuleType:
    """A library, without what it says of itself while it runs."""
    if name == "lightning":
        sys.path.append(str(peers(lambda text: print(text, file=sys.stderr))))
    package = import_module(name)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    return package


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """What is printed goes nowhere, and not to a terminal."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


class Batches:
    """A loader that costs nothing."""

    def __init__(self, count: int, device: str = "cpu", shape: tuple[int, ...] = (1, 32)):
        self.batches = [torch.randn(shape, device=device) for _ in range(count)]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def finished(watch: Watch) -> Spent:
    """The time until all is done, on a GPU too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return watch.read()


class Timed:
    """Mixed into a module: the time of the epochs, without what is before and after them."""

    spent = Spent(0.0, 0.0)

    def on_train_start(self) -> None:
        self.watch = Watch()

    def on_train_end(self) -> None:
        self.spent = finished(self.watch)


def line(package: ModuleType, logs: int = 0) -> Any:
    """Linear(32, 2) that logs ``logs`` values a step."""

    class Line(Timed, package.LightningModule):  # type: ignore[name-defined,misc]  # the base is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 2)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss = self.layer(batch).sum()
            for index in range(logs):
                self.log(f"value_{index}", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    return Line()


def line_by_hand(batches: Batches) -> Spent:
    """What :func:`line` does, by hand: in float32 on a CPU, under autocast on a GPU."""
    device = batches.batches[0].device.type
    model = nn.Linear(32, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    watch = Watch()
    for batch in batches:
        if device == "cuda":
            with torch.autocast(device, torch.bfloat16):
                loss = model(batch).sum()
        else:
            loss = model(batch).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return finished(watch)


class Network(nn.Module):
    """The recurrent network of Lightning's own parity test: LSTM(10, 20)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(10, 20, batch_first=True)
        self.out = nn.Linear(20, 5)

    def loss(self, batch: Any) -> Tensor:
        inputs, targets = batch
        states, _ = self.rnn(inputs)
        return nn.functional.mse_loss(self.out(states[:, -1]), targets)


def sequences(batches: int = 20, **options: Any) -> DataLoader[Any]:
    """Random sequences in batches of 30, the same in each call."""
    source = torch.Generator().manual_seed(1)
    inputs = torch.randn(30 * batches, 7, 10, generator=source)
    targets = torch.randn(30 * batches, 5, generator=source)
    return DataLoader(TensorDataset(inputs, targets), batch_size=30, **{"shuffle": True, **options})


def recurrent(package: ModuleType, validates: bool = False) -> Any:
    """:class:`Network` as a module; keeps the loss of each step."""

    class Recurrent(Timed, package.LightningModule):  # type: ignore[name-defined,misc]  # chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.network = Network()
            self.losses: list[Tensor] = []

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = self.network.loss(batch)
            self.losses.append(loss.detach())
            self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.02)

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.network.loss(batch))

    if validates:
        Recurrent.validation_step = validation_step
    return Recurrent()


def recurrent_by_hand(loader: DataLoader[Any], epochs: int, validation: DataLoader[Any] | None) -> tuple[Spent, Any]:
    """What :func:`recurrent` does, by hand, and its losses."""
    model, losses = Network(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    watch = Watch()
    for _ in range(epochs):
        for batch in loader:
            loss = model.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        if validation is not None:
            model.eval()
            with torch.no_grad():
                for batch in validation:
                    model.loss(batch)
            model.train()
    return watch.read(), losses


def trained(package: ModuleType, module: Any, *loaders: Any, **options: Any) -> Spent:
    """The time of a module's epochs under a Trainer of ``package``."""
    trainer = package.Trainer(**{**QUIET, "accelerator": "cpu", "max_epochs": 1, **options})
    trainer.fit(module, *loaders)
    spent: Spent = module.spent
    return spent


def seeded(run: Callable[[], Any]) -> Any:
    """``run()`` from the seed that all subjects begin with."""
    torch.manual_seed(0)
    return run()
