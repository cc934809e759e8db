"""Optimizers, schedulers, accumulation, clipping, manual optimization."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR

from parity.models import Trained, Whole, loader
from parity.recording import Seen, program


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


class Rates(Whole):
    """Notes the learning rate of each batch."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.rates = seen.values.setdefault("rates", [])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.trainer.optimizers[0]
        self.rates.append(optimizer.param_groups[0]["lr"])


@program
def optimizer_in_a_list(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return [sgd(self)]

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def no_optimizer(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return None

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader())


@program
def schedulers_in_the_second_list(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return [optimizer], [StepLR(optimizer, 1, gamma=0.5)]

    seen.trainer(max_epochs=3).fit(seen.watched(Model(seen)), loader())


@program
def scheduler_in_a_dict(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return {"optimizer": optimizer, "lr_scheduler": ExponentialLR(optimizer, 0.5)}

    seen.trainer(max_epochs=3).fit(seen.watched(Model(seen)), loader())


@program
def scheduler_by_step(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            scheduler = {"scheduler": StepLR(optimizer, 1, gamma=0.8), "interval": "step", "frequency": 2}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    seen.trainer().fit(seen.watched(Model(seen)), loader())


@program
def scheduler_by_step_with_accumulation(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            scheduler = {"scheduler": StepLR(optimizer, 1, gamma=0.8), "interval": "step"}
            return [optimizer], [scheduler]

    seen.trainer(accumulate_grad_batches=2).fit(seen.watched(Model(seen)), loader(10))


@program
def scheduler_every_second_epoch(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return [optimizer], [{"scheduler": StepLR(optimizer, 1, gamma=0.5), "frequency": 2}]

    seen.trainer(max_epochs=5).fit(seen.watched(Model(seen)), loader(4))


@program
def scheduler_on_a_plateau(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}

    seen.trainer(max_epochs=4).fit(seen.watched(Model(seen)), loader(), loader(4))


@program
def scheduler_on_a_plateau_by_step(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            scheduler = ReduceLROnPlateau(optimizer, patience=1, threshold=10.0)
            config = {"scheduler": scheduler, "monitor": "loss", "interval": "step", "frequency": 2}
            return {"optimizer": optimizer, "lr_scheduler": config}

    seen.trainer().fit(seen.watched(Model(seen)), loader())


@program
def plateau_of_an_unknown_metric(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer), "monitor": "nothing"}

    seen.trainer().fit(seen.watched(Model(seen)), loader())


@program
def two_schedulers(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            by_step = {"scheduler": StepLR(optimizer, 1, gamma=0.9), "interval": "step"}
            return [optimizer], [by_step, ExponentialLR(optimizer, 0.5)]

    seen.trainer().fit(seen.watched(Model(seen)), loader())


@program
def lr_scheduler_step_of_the_users_own(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return [optimizer], [StepLR(optimizer, 1, gamma=0.5)]

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            scheduler.step()
            scheduler.step()

    seen.trainer(max_epochs=3).fit(seen.watched(Model(seen)), loader())


@program
def two_optimizers_need_manual_optimization(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return [sgd(self), sgd(self)]

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def a_wrong_answer_of_configure_optimizers(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return {"optimiser": sgd(self)}

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def gradients_accumulated(seen: Seen) -> None:
    seen.trainer(accumulate_grad_batches=3).fit(seen.watched(Whole()), loader(14), loader(4))


@program
def gradients_clipped_by_norm(seen: Seen) -> None:
    seen.trainer(gradient_clip_val=0.05).fit(seen.watched(Trained()), loader())


@program
def gradients_clipped_by_value(seen: Seen) -> None:
    seen.trainer(gradient_clip_val=0.01, gradient_clip_algorithm="value").fit(seen.watched(Trained()), loader())


@program
def clipping_of_the_users_own(seen: Seen) -> None:
    class Model(Trained):
        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
        ) -> None:
            self.clip_gradients(optimizer, gradient_clip_val=0.02, gradient_clip_algorithm="value")

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def optimizer_step_of_the_users_own(seen: Seen) -> None:
    class Model(Trained):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            if batch_idx % 2 == 0:
                optimizer.step(closure=optimizer_closure)
            else:
                optimizer_closure()

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def zero_grad_of_the_users_own(seen: Seen) -> None:
    class Model(Trained):
        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            optimizer.zero_grad(set_to_none=False)

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def backward_of_the_users_own(seen: Seen) -> None:
    class Model(Trained):
        def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
            (loss * 2).backward()

    seen.trainer().fit(seen.watched(Model()), loader())


@program
def lbfgs_asks_several_times(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader())


@program
def estimated_stepping_batches_for_a_scheduler(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            steps = int(self.trainer.estimated_stepping_batches)
            seen.values["steps"] = steps
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    seen.trainer(accumulate_grad_batches=2, max_epochs=3).fit(seen.watched(Model(seen)), loader(10))


@program
def an_optimizer_that_counts(seen: Seen) -> None:
    class Counting(torch.optim.SGD):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("step")
            return super().step(*args, **kwargs)

        def zero_grad(self, *args: Any, **kwargs: Any) -> None:
            calls.append("zero_grad")
            super().zero_grad(*args, **kwargs)

    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return Counting(self.parameters(), lr=0.1)

    calls = seen.values.setdefault("calls", [])
    seen.trainer(accumulate_grad_batches=3).fit(seen.watched(Model()), loader(20))


@program
def a_scheduler_beside_a_list(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return [optimizer], ExponentialLR(optimizer, 0.5)

    seen.trainer().fit(seen.watched(Model()), loader(8))


@program
def keys_that_nobody_reads(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            config = {"scheduler": StepLR(optimizer, 1), "speed": 3}
            return {"optimizer": optimizer, "lr_scheduler": config, "interval": "step"}

    seen.trainer().fit(seen.watched(Model()), loader(8))


@program
def a_scheduler_of_another_optimizer(seen: Seen) -> None:
    class Model(Trained):
        def configure_optimizers(self) -> Any:
            return [sgd(self)], [StepLR(sgd(self), 1)]

    seen.trainer().fit(seen.watched(Model()), loader(8))


@program
def a_step_without_a_loss_has_no_outputs(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) if batch_idx % 2 else None

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.values.setdefault("outputs", []).append(outputs)

    seen.trainer().fit(seen.watched(Model()), loader(8))


@program
def steps_of_a_frequency(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            scheduler = {"scheduler": StepLR(optimizer, 1, 0.5), "interval": "step", "frequency": 2}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    for accumulated in (1, 2):
        trainer = seen.trainer(max_epochs=3, accumulate_grad_batches=accumulated)
        trainer.fit(seen.watched(Model(seen)), loader(10), loader(2))


@program
def a_plateau_in_an_epoch_cut_short(seen: Seen) -> None:
    class Model(Rates):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            scheduler = ReduceLROnPlateau(optimizer, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}

    for options in ({"max_epochs": -1, "max_steps": 6}, {"max_epochs": -1, "max_steps": 3, "num_sanity_val_steps": 0}):
        seen.trainer(**options).fit(seen.watched(Model(seen)), loader(), loader(2))


@program
def an_epoch_that_a_hook_ends(seen: Seen) -> None:
    class Model(Rates):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            super().on_train_batch_start(batch, batch_idx)
            return -1 if batch_idx == 2 else None

        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            each = {"scheduler": StepLR(optimizer, 1, 0.5), "interval": "step"}
            return [optimizer], [StepLR(optimizer, 1, 0.1), each]

    seen.trainer(max_epochs=3).fit(seen.watched(Model(seen)), loader(), loader(2))


@program
def manual_steps_over_a_validation(seen: Seen) -> None:
    class Model(Whole):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            optimizer = self.optimizers()
            loss = self.loss(batch)
            self.manual_backward(loss)
            if batch_idx % 2:
                optimizer.step()
                optimizer.zero_grad()
            return {"loss": loss}

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.values.setdefault("outputs", []).append((sorted(outputs), outputs["loss"].requires_grad))

        def on_validation_start(self) -> None:
            held = [parameter.grad is not None for parameter in self.parameters()]
            seen.values.setdefault("gradients", []).append(held)

        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            return [optimizer], [ReduceLROnPlateau(optimizer)]

    seen.trainer(val_check_interval=1, gradient_clip_val=0.0).fit(seen.watched(Model()), loader(), loader(2))


@program
def changed_while_it_runs(seen: Seen) -> None:
    class Changing(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.gradient_clip_val = 0.01
            trainer.check_val_every_n_epoch = 2

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                trainer.optimizers = [torch.optim.SGD(pl_module.parameters(), lr=0.5)]

    seen.trainer(max_epochs=4, callbacks=[Changing()]).fit(seen.watched(Whole()), loader(), loader(2))
