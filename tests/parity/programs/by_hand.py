"""Manual optimization."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.lr_scheduler import StepLR

from parity.models import Trained, loader
from parity.programs.optimization import sgd
from parity.recording import Seen, program


class Manual(Trained):
    """Two networks that are stepped in turn by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(4, 1)

    def configure_optimizers(self) -> Any:
        return [sgd(self.network), sgd(self.other)]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, targets = batch
        for part, optimizer in zip((self.network, self.other), self.optimizers(), strict=True):
            loss = nn.functional.mse_loss(part(inputs), targets)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("loss", loss)


@program
def manual_optimization(seen: Seen) -> None:
    seen.trainer().fit(seen.watched(Manual()), loader())


@program
def manual_optimization_toggles(seen: Seen) -> None:
    class Model(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            inputs, targets = batch
            for optimizer in self.optimizers():
                self.toggle_optimizer(optimizer)
                loss = nn.functional.mse_loss(self.network(inputs) + self.other(inputs), targets)
                seen.values.setdefault("trained", []).append([p.requires_grad for p in self.parameters()])
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                self.untoggle_optimizer(optimizer)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def manual_optimization_with_schedulers(seen: Seen) -> None:
    class Model(Manual):
        def configure_optimizers(self) -> Any:
            one, other = sgd(self.network), sgd(self.other)
            return [one, other], [StepLR(one, 1, gamma=0.5), StepLR(other, 1, gamma=0.5)]

        def on_train_epoch_end(self) -> None:
            for scheduler in self.lr_schedulers():
                scheduler.step()
            seen.values.setdefault("rates", []).append([s.get_last_lr() for s in self.lr_schedulers()])

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def manual_optimization_forbids_clipping(seen: Seen) -> None:
    seen.trainer(gradient_clip_val=0.1).fit(seen.watched(Manual()), loader())


@program
def manual_optimization_forbids_accumulation(seen: Seen) -> None:
    seen.trainer(accumulate_grad_batches=2).fit(seen.watched(Manual()), loader())


@program
def toggled_by_the_optimizer(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.other, self.spare = nn.Linear(4, 1), nn.Linear(2, 2)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            for optimizer, part in ((first, self.network), (second, self.other)):
                with optimizer.toggle_model(sync_grad=batch_idx % 2 == 1):
                    asks.append([parameter.requires_grad for parameter in self.parameters()])
                    optimizer.zero_grad()
                    self.manual_backward(nn.functional.mse_loss(part(batch[0]), batch[1]))
                    optimizer.step()

        def configure_optimizers(self) -> Any:
            return sgd(self.network), sgd(self.other)

    asks = seen.values.setdefault("requires_grad", [])
    trainer, model = seen.trainer(), seen.watched(Model())
    trainer.fit(model, loader(8))
    seen.values["shown"] = str(model.optimizers()[0]).split()[0]
