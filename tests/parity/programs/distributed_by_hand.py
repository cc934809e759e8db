"""Two processes, and optimizers stepped by the program."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from parity.models import Trained
from parity.programs.distributed import DDP, shuffled
from parity.recording import Seen, distributed


class ByHand(Trained):
    """Manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


@distributed
def ddp_with_manual_optimization(seen: Seen) -> None:
    class Model(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_with_two_backwards_in_a_step(seen: Seen) -> None:
    class Model(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            self.manual_backward(0.1 * self.loss(batch))
            optimizer.step()

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_accumulates_by_hand(seen: Seen) -> None:
    class Model(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            self.manual_backward(self.loss(batch) / 2)
            if (batch_idx + 1) % 2 == 0:
                self.clip_gradients(optimizer, 0.05, "norm")
                optimizer.step()
                optimizer.zero_grad()

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(20))


@distributed
def ddp_with_a_graph_that_is_kept(seen: Seen) -> None:
    class Model(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss, retain_graph=True)
            self.manual_backward(loss.square())
            optimizer.step()
            self.log("loss", loss, sync_dist=True)

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_with_a_batch_left_out_by_hand(seen: Seen) -> None:
    class Model(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                return
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    seen.trainer(**DDP).fit(seen.watched(Model()), shuffled(16))


@distributed
def ddp_with_two_players(seen: Seen) -> None:
    class Model(ByHand):
        def __init__(self) -> None:
            super().__init__()
            self.critic = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            self.toggle_optimizer(first)
            loss = self.critic(self(batch[0])).mean()
            first.zero_grad()
            self.manual_backward(loss)
            first.step()
            self.untoggle_optimizer(first)
            self.toggle_optimizer(second)
            loss = self.critic(batch[1]).mean() - self.critic(self(batch[0]).detach()).mean()
            second.zero_grad()
            self.manual_backward(loss)
            second.step()
            self.untoggle_optimizer(second)

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), lr=0.05) for part in (self.network, self.critic)]

    options = {**DDP, "strategy": "ddp_find_unused_parameters_true"}
    seen.trainer(**options).fit(seen.watched(Model()), shuffled(16))
