"""What a drawn program is made of: plain values, which a failing test shows."""

from __future__ import annotations

import random
from typing import Any

from parity.drawn.agreed import Spec, agreed

STEP_HOOKS = (
    "training_step",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
EPOCH_HOOKS = ("on_train_start", "on_train_epoch_start", "on_train_epoch_end")
OVERRIDES = (
    "configure_gradient_clipping",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "lr_scheduler_step",
    "on_after_batch_transfer",
)
ACTING = (
    "setup",
    "configure_optimizers",
    "on_fit_start",
    *EPOCH_HOOKS,
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_end",
    "on_train_end",
)
"""Where a program may draw a random number, or fail."""
FAILING = (*ACTING, "training_step", "validation_step", "on_before_zero_grad", "on_fit_end", "teardown")
OPTIMIZERS = ("SGD", "SGD", "Adam", "AdamW", "RMSprop", "LBFGS")
SCHEDULERS = (
    "StepLR",
    "ExponentialLR",
    "CosineAnnealingLR",
    "OneCycleLR",
    "LambdaLR",
    "ReduceLROnPlateau",
    "Sequential",
)


class Lots(random.Random):
    """A source of randomness with a word for what may be or not be."""

    def perhaps(self, share: float, value: Any, other: Any = None) -> Any:
        """``value`` in a ``share`` of all cases."""
        return value if self.random() < share else other

    def options(self, share: float, **options: tuple[Any, ...]) -> Spec:
        """Each option in a ``share`` of all cases, with one of its values."""
        return {name: self.choice(values) for name, values in options.items() if self.random() < share}


def draw(number: int) -> Spec:
    """The program of this number."""
    lots = Lots(number)
    data = _data(lots)
    module = _module(lots)
    trainer = _trainer(lots, module["manual"])
    callbacks = _callbacks(lots, module["manual"])
    then = [stage for stage in ("again", "validate", "test", "predict", "best", "resume") if lots.random() < 0.2]
    stop = lots.randint(1, 9)
    # Behind all else, so that the programs stay what they were but for this.
    module["draws"] += lots.perhaps(0.06, ["on_save_checkpoint"], [])
    for callback in callbacks:
        if callback["name"] == "ModelCheckpoint":
            callback["options"] |= lots.options(0.2, save_last=(True, "link"), enable_version_counter=(False,))
    found = {"data": data, "module": module, "trainer": trainer, "callbacks": callbacks, "then": then, "stop": stop}
    return agreed(found)


def _data(lots: Lots) -> Spec:
    several = lots.perhaps(0.15, lots.choice(("max_size_cycle", "min_size", "max_size")))
    return {
        "train": [_loader(lots, shuffle=True) for _ in range(lots.choice((2, 3)) if several else 1)],
        "several": several,
        "val": lots.perhaps(0.75, [_loader(lots) for _ in range(lots.choice((1, 1, 1, 2)))], []),
        "together": lots.perhaps(0.3, lots.choice(("dict", "max_size_cycle", "min_size", "max_size", "sequential"))),
        "by": lots.choice(("arguments", "arguments", "module", "data_module")),
    }


def _loader(lots: Lots, shuffle: bool = False) -> Spec:
    size = lots.randint(1, 4)
    return {
        "count": lots.randint(max(2, size), 13),
        "batch_size": size,
        "drop_last": lots.random() < 0.15,
        "shuffle": shuffle and lots.random() < 0.5,
        "stream": lots.random() < 0.12,
        "own": shuffle and lots.perhaps(0.12, lots.choice(("batches", "place"))),
    }


def _module(lots: Lots) -> Spec:
    manual = lots.random() < 0.2
    return {
        "manual": manual,
        "by_hand": lots.choice(("toggled", "context", "accumulated")),
        "optimizers": [_optimizer(lots, manual) for _ in range(lots.choice((1, 2)) if manual else 1)],
        "shape": lots.choice(("plain", "list", "pair", "dict")),
        "dropout": lots.choice((0.0, 0.2)),
        "batch_norm": lots.random() < 0.2,
        "in_eval": lots.random() < 0.1,
        "returns": lots.choice(("loss", "loss", "loss", "dict", "sometimes")),
        "loss": lots.options(0.5, on_epoch=(True,), prog_bar=(True,)),
        "sync": {},
        "logs": _logs(lots, STEP_HOOKS, EPOCH_HOOKS, "t"),
        "val_logs": _evaluation_logs(lots, "validation", "v"),
        "test_logs": _evaluation_logs(lots, "test", "s"),
        "metrics": [name for name in ("training_step", "validation_step") if lots.random() < 0.08],
        "skips": lots.perhaps(0.07, lots.randint(0, 6)),
        "stops": lots.perhaps(0.1, lots.randint(1, 12)),
        "accumulates": {} if manual else lots.perhaps(0.06, {lots.randint(0, 2): lots.randint(1, 3)}, {}),
        "freezes": lots.perhaps(0.06, lots.randint(0, 2)),
        "brings": lots.perhaps(0.06, lots.choice(("EarlyStopping", "ModelCheckpoint"))),
        "overrides": [] if manual else [name for name in OVERRIDES if lots.random() < 0.06],
        "draws": [name for name in ACTING if lots.random() < 0.04],
        "fails": lots.perhaps(0.08, {"hook": lots.choice(FAILING), "call": lots.randint(1, 4)}),
    }


def _evaluation_logs(lots: Lots, stage: str, prefix: str) -> list[Spec]:
    steps = (f"{stage}_step", f"on_{stage}_batch_start", f"on_{stage}_batch_end")
    return _logs(lots, steps, (f"on_{stage}_start", f"on_{stage}_epoch_start", f"on_{stage}_epoch_end"), prefix)


def _logs(lots: Lots, hooks: tuple[str, ...], epoch_hooks: tuple[str, ...], prefix: str) -> list[Spec]:
    """Calls of ``log``."""
    found = []
    for index in range(lots.choice((0, 1, 2, 3))):
        hook, name = lots.choice(hooks + epoch_hooks), f"{prefix}{index}"
        if hook in epoch_hooks:
            options = lots.options(0.3, on_epoch=(True,))
            name = lots.perhaps(0.2, f"{prefix}_shared", name)
        else:
            times = ({}, {"on_step": True}, {"on_epoch": True}, {"on_step": True, "on_epoch": True})
            options = dict(lots.choice((*times, {"on_step": False, "on_epoch": True})))
            options |= lots.options(0.3, reduce_fx=("mean", "min", "max", "sum"), batch_size=(1, 2, 3))
        found.append(
            {
                "hook": hook,
                "name": name,
                "options": options | lots.options(0.25, prog_bar=(True,), logger=(False,)),
                "as": lots.choice(("log", "log", "log", "log_dict")),
                "value": lots.choice(("loss", "index", "number", "step")),
                "every": lots.perhaps(0.15, 2, 1),
            }
        )
    return found


def _optimizer(lots: Lots, manual: bool) -> Spec:
    name = lots.choice(OPTIMIZERS[:-1] if manual else OPTIMIZERS)
    return {
        "name": name,
        "lr": lots.choice((0.01, 0.1)),
        "groups": 1 if name == "LBFGS" else lots.choice((1, 1, 2)),
        "schedulers": [_scheduler(lots) for _ in range(lots.choice((0, 0, 0, 1, 1, 2)))],
    }


def _scheduler(lots: Lots) -> Spec:
    found = {"name": lots.choice(SCHEDULERS), "interval": lots.choice(("epoch", "step"))}
    found |= {"frequency": lots.choice((1, 1, 2, 3)), "bare": lots.random() < 0.3}
    if found["name"] == "ReduceLROnPlateau":
        found |= {"monitor": "loss", "bare": False, "strict": lots.random() < 0.7}
    return found


def _trainer(lots: Lots, manual: bool) -> Spec:
    options: Spec = {"max_epochs": lots.choice((1, 2, 3, 4, *lots.perhaps(0.2, (-1, None), ())))}
    options |= lots.options(1 if options["max_epochs"] in (-1, None) else 0.3, max_steps=tuple(range(1, 15)))
    options |= lots.options(0.15, min_epochs=(1, 2, 3), min_steps=tuple(range(1, 10)))
    options |= lots.options(0.3, limit_train_batches=(1, 2, 3, 4, 5, 0.5, 0.75), limit_val_batches=(0, 1, 2, 3))
    options |= lots.options(0.4, num_sanity_val_steps=(0, 1, -1), log_every_n_steps=(1, 2, 3, 5))
    intervals = ({"val_check_interval": 1}, {"val_check_interval": 2}, {"val_check_interval": 0.5})
    epochs = ({"check_val_every_n_epoch": 2}, {"val_check_interval": 3, "check_val_every_n_epoch": None})
    options |= lots.perhaps(0.6, dict(lots.choice((*intervals, *epochs))), {})
    if not manual:
        options |= lots.options(0.3, accumulate_grad_batches=(2, 3, 4))
        options |= lots.perhaps(
            0.2, {"gradient_clip_val": 0.1} | lots.options(0.5, gradient_clip_algorithm=("value",)), {}
        )
    options |= lots.options(0.06, overfit_batches=(1, 2), fast_dev_run=(1, 2, 3), detect_anomaly=(True,))
    options |= lots.options(0.15, reload_dataloaders_every_n_epochs=(1, 2), csv=(1, 3))
    return options | lots.options(0.12, precision=("64-true", "bf16-mixed", "bf16-true"), inference_mode=(False,))


def _callbacks(lots: Lots, manual: bool) -> list[Spec]:
    wanted = {
        "EarlyStopping": (0.2, _stopping),
        "ModelCheckpoint": (0.35, _checkpoint),
        "LearningRateMonitor": (0.15, lambda lots: lots.options(0.7, logging_interval=("step", "epoch"))),
        "Logging": (0.12, lambda lots: {"logs": _logs(lots, STEP_HOOKS[2:], EPOCH_HOOKS, "c")}),
    }
    automatic = {
        "GradientAccumulationScheduler": (0.08, lambda lots: {"scheduling": {0: lots.choice((1, 2)), 1: 3}}),
        "EMAWeightAveraging": (0.06, lambda lots: {"decay": lots.choice((0.5, 0.9))}),
        "StochasticWeightAveraging": (0.06, _swa),
        "BackboneFinetuning": (0.08, _finetuning),
    }
    wanted |= {} if manual else automatic
    return [{"name": name, "options": of(lots)} for name, (share, of) in wanted.items() if lots.random() < share]


def _stopping(lots: Lots) -> Spec:
    options = {
        "monitor": lots.choice(("loss", "val_loss")),
        "mode": lots.choice(("min", "max")),
        "patience": lots.randint(0, 2),
    }
    options |= lots.options(0.5, strict=(False,), check_on_train_epoch_end=(True, False))
    return options | lots.options(0.15, min_delta=(0.1,), stopping_threshold=(0.6,), divergence_threshold=(3.0,))


def _checkpoint(lots: Lots) -> Spec:
    options: Spec = {"save_top_k": lots.choice((-1, 1))}
    if lots.random() < 0.5:
        options |= {"monitor": lots.choice(("loss", "val_loss")), "mode": lots.choice(("min", "max"))}
        options |= lots.options(0.5, save_top_k=(2,))
    options |= lots.choice(({}, {"every_n_train_steps": lots.randint(1, 4)}, {"every_n_epochs": lots.choice((1, 2))}))
    names = ("{epoch}-{loss:.2f}", "x-{step:03d}", "{val_loss:.2f}_{epoch}")
    options |= lots.options(0.15, filename=names, auto_insert_metric_name=(False,), save_weights_only=(True,))
    return options | lots.options(0.3, save_on_train_epoch_end=(True, False))


def _swa(lots: Lots) -> Spec:
    return {"swa_lrs": 0.05, "swa_epoch_start": 1, "annealing_epochs": lots.randint(1, 3)}


def _finetuning(lots: Lots) -> Spec:
    options = {"unfreeze_backbone_at_epoch": lots.choice((1, 2)), "backbone_initial_ratio_lr": 0.1}
    return options | lots.options(0.3, backbone_initial_lr=(0.02,), should_align=(False,))
