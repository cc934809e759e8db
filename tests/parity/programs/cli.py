"""LightningCLI."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    LRSchedulerCallable,
    OptimizerCallable,
    SaveConfigCallback,
)

from parity.models import Whole, batches, loader
from parity.recording import Seen, different, program


class Plain(Whole):
    """Data of its own, and nothing that ``lr`` and the Trainer's arguments do not say."""

    def train_dataloader(self) -> Any:
        return loader()

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self) -> Any:
        return batches()


class Sized(pl.LightningDataModule):
    def __init__(self, batch_size: int = 2) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        return loader(8, self.batch_size)

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self) -> Any:
        return batches()


class Made(Plain):
    """Optimizers as arguments."""

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return [optimizer], [self.scheduler(optimizer)]


QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "max_epochs": 2,
}


def run(
    seen: Seen,
    *args: str,
    model: Any = Plain,
    data: Any = None,
    base: type[LightningCLI] = LightningCLI,
    defaults: dict[str, Any] | None = None,
    **options: Any,
) -> LightningCLI:
    """The command line with everything that it builds noted."""

    class Noted(base):  # type: ignore[valid-type,misc]  # a class that the program gives
        def after_instantiate_classes(self) -> None:
            super().after_instantiate_classes()
            seen.watched(self.model)
            seen.trainers.append(self.trainer)

    given: dict[str, Any] = {"save_config_callback": None, **options}
    return Noted(
        model,
        data,
        trainer_defaults={**QUIET, "default_root_dir": str(seen.folder), **(defaults or {})},
        args=given.pop("args", list(args)),
        **given,
    )


def written(seen: Seen, name: str, **sections: Any) -> str:
    path = seen.folder / name
    path.write_text(yaml.safe_dump(sections))
    return f"--config={path}"


def learning_rates(cli: LightningCLI) -> list[float]:
    return [group["lr"] for optimizer in cli.trainer.optimizers for group in optimizer.param_groups]


@program
def cli_fits_with_options(seen: Seen) -> None:
    run(seen, "fit", "--model.lr=0.02", "--trainer.max_epochs=1", "--trainer.limit_train_batches=3")


@program
def cli_takes_a_dict(seen: Seen) -> None:
    cli = run(seen, args={"model": {"lr": 0.03}, "trainer": {"max_epochs": 1}}, run=False)
    cli.trainer.fit(cli.model)
    seen.values["config"] = {"lr": cli.config.model.lr, "epochs": cli.config.trainer.max_epochs}


@program
def cli_runs_every_subcommand(seen: Seen) -> None:
    for name in ("validate", "test", "predict"):
        run(seen, name, data=Sized)


@program
def cli_reads_files_in_order(seen: Seen) -> None:
    one = written(seen, "one.yaml", model={"lr": 0.5}, data={"batch_size": 4}, trainer={"max_epochs": 1})
    two = written(seen, "two.yaml", model={"lr": 0.01}, trainer={"limit_train_batches": 1})
    cli = run(seen, "fit", one, two, "--data.batch_size=1", data=Sized)
    seen.values["config"] = [cli.config.fit.model.lr, cli.config.fit.data.batch_size, cli.config.fit.trainer.max_epochs]


@program
def cli_builds_callbacks_by_class_path(seen: Seen) -> None:
    stopping = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss"}}
    stopping["init_args"]["patience"] = 7  # type: ignore[index]  # a dict in the dict
    cli = run(seen, "fit", written(seen, "c.yaml", trainer={"callbacks": [stopping]}))
    seen.values["patience"] = [c.patience for c in cli.trainer.callbacks if isinstance(c, EarlyStopping)]


@program
def cli_picks_a_subclass(seen: Seen) -> None:
    for options in ({"model": None}, {"model": pl.LightningModule, "subclass_mode_model": True}):
        cli = run(seen, "fit", "--model=parity.programs.cli.Plain", "--model.lr=0.04", **options)
        seen.values.setdefault("classes", []).append(type(cli.model).__name__)


@program
def cli_picks_a_data_module(seen: Seen) -> None:
    data = ("--data=parity.programs.cli.Sized", "--data.batch_size=4")
    cli = run(seen, "fit", *data, data=pl.LightningDataModule, subclass_mode_data=True)
    seen.values["batch_size"] = cli.datamodule.batch_size


@program
def cli_makes_a_model_by_a_function(seen: Seen) -> None:
    def make(scale: float = 1.0) -> Plain:
        return Plain(lr=0.01 * scale)

    cli = run(seen, "fit", "--model.scale=3", model=make)
    seen.values["lr"] = cli.model.lr


@program
def cli_gives_an_optimizer(seen: Seen) -> None:
    cli = run(seen, "fit", "--optimizer=SGD", "--optimizer.lr=0.02")
    seen.values["optimizer"] = [type(o).__name__ for o in cli.trainer.optimizers]
    seen.values["rates"] = learning_rates(cli)


@program
def cli_gives_a_scheduler(seen: Seen) -> None:
    scheduler = ("--lr_scheduler=StepLR", "--lr_scheduler.step_size=1", "--lr_scheduler.gamma=0.5")
    seen.values["rates"] = learning_rates(run(seen, "fit", "--optimizer=Adam", *scheduler))


@program
def cli_gives_a_plateau_scheduler(seen: Seen) -> None:
    scheduler = ("--lr_scheduler=ReduceLROnPlateau", "--lr_scheduler.monitor=val_loss", "--lr_scheduler.patience=0")
    seen.values["rates"] = learning_rates(run(seen, "fit", "--optimizer=Adam", *scheduler))


@program
def cli_leaves_optimizers_alone(seen: Seen) -> None:
    cli = run(seen, "fit", auto_configure_optimizers=False)
    seen.values["keys"] = sorted(set(cli.config.fit.as_dict()) - {"weights_only", "config"})


class FixedOptimizer(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_optimizer_args(torch.optim.SGD)
        parser.add_lr_scheduler_args(torch.optim.lr_scheduler.ExponentialLR)

    @staticmethod
    def configure_optimizers(lightning_module: Any, optimizer: Any, lr_scheduler: Any = None) -> Any:
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}


@program
def cli_fixes_the_optimizers_class(seen: Seen) -> None:
    options = ("--optimizer.lr=0.02", "--lr_scheduler.gamma=0.9")
    seen.values["rates"] = learning_rates(run(seen, "fit", *options, base=FixedOptimizer))


@program
def cli_refuses_two_optimizers(seen: Seen) -> None:
    class Two(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_optimizer_args(torch.optim.SGD, "first")
            parser.add_optimizer_args(torch.optim.Adam, "second")

    run(seen, "fit", "--first.lr=0.1", "--second.lr=0.1", base=Two)


@program
def cli_makes_optimizers_in_the_module(seen: Seen) -> None:
    config = {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.03}},
        "scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}},
    }
    cli = run(seen, "fit", written(seen, "c.yaml", model=config), model=Made, auto_configure_optimizers=False)
    seen.values["rates"] = learning_rates(cli)
    seen.values["optimizer"] = type(cli.trainer.optimizers[0]).__name__


class Linked(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--scale", type=float, default=1.0)
        parser.link_arguments(
            ("data.batch_size", "scale"), "model.lr", compute_fn=lambda size, scale: size * scale / 100
        )
        parser.add_lightning_class_args(EarlyStopping, "stopping")
        parser.set_defaults({"stopping.monitor": "val_loss", "stopping.patience": 9})


@program
def cli_links_arguments_and_adds_callbacks(seen: Seen) -> None:
    cli = run(seen, "fit", "--scale=0.5", "--data.batch_size=4", "--stopping.patience=5", data=Sized, base=Linked)
    seen.values["lr"] = cli.model.lr
    seen.values["patience"] = [c.patience for c in cli.trainer.callbacks if isinstance(c, EarlyStopping)]


@program
def cli_links_what_is_built(seen: Seen) -> None:
    class Later(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.link_arguments("data.batch_size", "model.lr", apply_on="instantiate")

    seen.values["lr"] = run(seen, "validate", "--data.batch_size=4", data=Sized, base=Later).model.lr


@program
def cli_calls_its_hooks(seen: Seen) -> None:
    def noting(name: str) -> Callable[..., None]:
        return lambda self, **arguments: seen.calls.append(" ".join([f"cli.{name}", *sorted(arguments)]))

    names = ("before_instantiate_classes", "before_fit", "after_fit", "before_test", "after_test")
    hooked = type("Hooked", (LightningCLI,), {name: noting(name) for name in names})
    run(seen, "fit", base=hooked)
    run(seen, "test", base=hooked)


@program
def cli_adds_a_subcommand(seen: Seen) -> None:
    class More(pl.Trainer):
        def twice(self, model: pl.LightningModule, times: int = 2) -> None:
            """Validate several times."""
            for _ in range(times):
                self.validate(model, verbose=False)

    class Has(LightningCLI):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {"twice": {"model"}, **LightningCLI.subcommands()}

    run(seen, "twice", "--times=3", base=Has, trainer_class=More)


@program
def cli_seeds_before_it_builds(seen: Seen) -> None:
    cli = run(seen, "fit", seed_everything_default=11)
    seen.values["seeds"] = [cli.config.fit.seed_everything]
    cli = run(seen, "fit", "--seed_everything=12")
    seen.values["seeds"].append(cli.config.fit.seed_everything)
    cli = run(seen, "fit", "--seed_everything=false")
    seen.values["seeds"].append(cli.config.fit.seed_everything)


@program
def cli_reads_the_environment(seen: Seen) -> None:
    os.environ["PL_FIT__MODEL__LR"] = "0.08"
    try:
        cli = run(seen, "fit", parser_kwargs={"default_env": True, "fit": {"default_env": True}})
    finally:
        del os.environ["PL_FIT__MODEL__LR"]
    seen.values["lr"] = cli.model.lr


@program
def cli_keeps_default_callbacks(seen: Seen) -> None:
    cli = run(seen, "fit", defaults={"callbacks": [EarlyStopping("val_loss", patience=8)]})
    seen.values["patience"] = [c.patience for c in cli.trainer.callbacks if isinstance(c, EarlyStopping)]


@program
def cli_saves_its_configuration(seen: Seen) -> None:
    run(seen, "fit", "--model.lr=0.07", data=Sized, save_config_callback=SaveConfigCallback)
    kept = yaml.safe_load((seen.folder / "config.yaml").read_text())
    seen.values["config"] = {name: kept[name] for name in ("model", "data", "optimizer", "seed_everything")}


@program
def cli_does_not_overwrite_a_configuration(seen: Seen) -> None:
    (seen.folder / "config.yaml").write_text("{}")
    run(seen, "fit", save_config_callback=SaveConfigCallback)


@program
def cli_overwrites_where_it_may(seen: Seen) -> None:
    (seen.folder / "mine.yaml").write_text("{}")
    options = {"overwrite": True, "config_filename": "mine.yaml"}
    run(seen, "fit", save_config_callback=SaveConfigCallback, save_config_kwargs=options)
    seen.values["lr"] = yaml.safe_load((seen.folder / "mine.yaml").read_text())["model"]["lr"]


@program
def cli_saves_a_configuration_elsewhere(seen: Seen) -> None:
    class Mine(SaveConfigCallback):
        def save_config(self, trainer: Any, pl_module: Any, stage: str) -> None:
            seen.values["saved"] = [stage, self.config.model.lr]

    run(seen, "fit", save_config_callback=Mine, save_config_kwargs={"save_to_log_dir": False})


class Kept(Plain):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__(lr)
        self.save_hyperparameters()


def with_a_checkpoint(seen: Seen, *args: str) -> None:
    trainer = pl.Trainer(**QUIET, default_root_dir=seen.folder)
    trainer.fit(Kept(0.015))
    trainer.save_checkpoint(seen.folder / "kept.ckpt")
    seen.values["lr"] = run(seen, "validate", f"--ckpt_path={seen.folder / 'kept.ckpt'}", *args, model=Kept).model.lr


@program
def cli_builds_with_the_checkpoints_arguments(seen: Seen) -> None:
    with_a_checkpoint(seen)


@different("what the user says wins over what a checkpoint says")
def cli_lets_the_user_win(seen: Seen) -> None:
    with_a_checkpoint(seen, "--model.lr=0.5")


@program
def cli_refuses_an_unknown_option(seen: Seen) -> None:
    run(seen, "fit", "--model.speed=3")


@program
def cli_refuses_a_wrong_value(seen: Seen) -> None:
    run(seen, "fit", "--trainer.max_epochs=many")


@program
def cli_takes_options_that_a_strategy_hands_on(seen: Seen) -> None:
    args = ["--trainer.strategy=DDPStrategy", "--trainer.strategy.find_unused_parameters=True"]
    cli = LightningCLI(Plain, run=False, args=args, trainer_defaults=QUIET, save_config_callback=None)
    seen.values["strategy"] = type(cli.trainer.strategy).__name__
    seen.values["options"] = dict(cli.config.trainer.strategy.init_args)["find_unused_parameters"]


@program
def cli_with_a_trainer_without_arguments(seen: Seen) -> None:
    class Fixed(pl.Trainer):
        def __init__(self) -> None:
            super().__init__(**QUIET)

    cli = LightningCLI(Plain, run=False, args=[], trainer_class=Fixed, save_config_callback=None)
    seen.values["trainer"] = [type(cli.trainer).__name__, cli.trainer.max_epochs, len(cli.trainer.callbacks)]
