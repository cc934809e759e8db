"""Methods and properties that programs of the other themes do not need."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_summary import summarize
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from parity.models import Data, Trained, Whole, loader, samples
from parity.recording import Seen, program


@program
def settings_are_attributes(seen: Seen) -> None:
    trainer = seen.trainer(max_steps=7, limit_val_batches=2, gradient_clip_val=0.5, log_every_n_steps=3)
    names = (
        "max_epochs max_steps min_steps limit_train_batches limit_val_batches limit_test_batches "
        "limit_predict_batches overfit_batches val_check_interval check_val_every_n_epoch log_every_n_steps "
        "reload_dataloaders_every_n_epochs gradient_clip_val gradient_clip_algorithm num_sanity_val_steps"
    )
    seen.values["settings"] = {name: getattr(trainer, name) for name in names.split()}


@program
def properties_of_the_run(seen: Seen) -> None:
    names = (
        "training validating testing predicting evaluating sanity_checking interrupted is_global_zero global_rank "
        "local_rank node_rank world_size num_nodes num_devices current_epoch global_step num_training_batches "
        "num_val_batches num_sanity_val_batches should_stop is_last_batch enable_validation estimated_stepping_batches"
    )

    class Watch(pl.Callback):
        def note(self, moment: str, trainer: Any) -> None:
            seen.values.setdefault(moment, {name: getattr(trainer, name) for name in names.split()})

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.note("train_start", trainer)

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.note("train_batch_end", trainer)

        def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
            self.note("sanity_check" if trainer.sanity_checking else "validation_batch_end", trainer)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.note("train_end", trainer)

    class Model(Whole):
        dropout = 0.0  # for Lightning draws once more when it is asked for the number of steps

    seen.trainer(callbacks=[Watch()]).fit(seen.watched(Model()), loader(), loader(4))


@program
def a_table_of_layers(seen: Seen) -> None:
    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = (torch.zeros(3, 4), torch.ones(1))
            self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
            self.head = nn.Linear(8, 2)
            self.head.requires_grad_(False)
            self.unused = nn.Linear(1, 1)

        def forward(self, inputs: Any, factor: Any) -> Any:
            return self.head(self.encoder(inputs)) * factor

    for depth in (1, -1):
        table = summarize(Model(), max_depth=depth)
        names = "layer_names layer_types param_nums in_sizes out_sizes total_parameters trainable_parameters"
        seen.values[str(depth)] = {name: getattr(table, name) for name in names.split()}


@program
def datasets_as_data(seen: Seen) -> None:
    data = pl.LightningDataModule.from_datasets(samples(8), [samples(4), samples(2)], batch_size=2)

    class Model(Whole):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("val_loss", self.loss(batch))

    seen.trainer(num_sanity_val_steps=0).fit(seen.watched(Model()), datamodule=data)


@program
def data_from_a_checkpoint(seen: Seen) -> None:
    class Sized(Data):
        def __init__(self, size: int = 4, batch_size: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.size, self.batch_size = size, batch_size

    trainer = seen.trainer(max_epochs=1)
    trainer.fit(seen.watched(Whole()), datamodule=Sized(size=8))
    trainer.save_checkpoint(seen.folder / "one.ckpt")
    found = Sized.load_from_checkpoint(seen.folder / "one.ckpt", batch_size=3)
    seen.values["data"] = (found.size, found.batch_size)


@program
def optimizers_take_turns(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.network[index].parameters(), lr=0.1) for index in (0, 3)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                with self.toggled_optimizer(optimizer):
                    required = [parameter.requires_grad for parameter in self.parameters()]
                    seen.values.setdefault("required", []).append(required)
                    optimizer.zero_grad()
                    self.manual_backward(self.loss(batch))
                    optimizer.step()

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader(4))


@program
def generators_in_isolation(seen: Seen) -> None:
    with isolate_rng():
        torch.rand(3)
    seen.values["next"] = torch.rand(2)
    with seen.trainer(precision="bf16-true").init_module():
        seen.values["type"] = str(nn.Linear(2, 2).weight.dtype)


@program
def hyperparameters_of_the_base_are_dropped(seen: Seen) -> None:
    class Base(Trained):
        def __init__(self, lr: float = 0.1, secret: str = "x") -> None:
            super().__init__()
            self.save_hyperparameters()

    class Derived(Base):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters(ignore=["secret"])
            self.remove_ignored_hparams(["secret"])

    seen.values["hparams"] = dict(Derived().hparams)


@program
def data_prepared_once(seen: Seen) -> None:
    class Once(Data):
        prepare_data_per_node = False

    seen.trainer(max_epochs=1).fit(seen.watched(Whole()), datamodule=seen.watched(Once()))


@program
def what_a_program_sets_and_asks_the_trainer(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with self.trainer.profiler.profile("loss"):
                return self.loss(batch)

    trainer = seen.trainer(max_epochs=1)
    first = trainer.logger
    trainer.logger = None
    seen.values["none"] = trainer.loggers
    trainer.logger = first
    seen.values["again"] = trainer.loggers == [first]
    seen.values["root"] = [type(trainer.default_root_dir).__name__, type(trainer.profiler).__name__]
    trainer.fit(seen.watched(Model()), loader(4))
