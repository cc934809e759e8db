"""Hyperparameters, and modules made from the checkpoints that hold them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import lightning.pytorch as pl
import torch

from parity.models import Trained, loader
from parity.recording import Seen, program


@program
def what_a_checkpoint_holds(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__(lr)
            self.save_hyperparameters()

        def on_save_checkpoint(self, checkpoint: Any) -> None:
            checkpoint["own"] = 3

    trainer = seen.trainer()
    trainer.fit(seen.watched(Model(0.2)), loader())
    trainer.save_checkpoint(seen.folder / "one.ckpt")
    held = torch.load(seen.folder / "one.ckpt", weights_only=True)
    seen.values["keys"] = sorted(key for key in held if key != "leyden")
    for key in ("epoch", "global_step", "hyper_parameters", "own", "state_dict"):
        seen.values[key] = dict(held[key]) if isinstance(held[key], dict) else held[key]


@program
def loaded_with_other_arguments(seen: Seen) -> None:
    class Model(Trained):
        def __init__(self, lr: float = 0.1, depth: int = 1) -> None:
            super().__init__(lr)
            self.save_hyperparameters()

    trainer = seen.trainer(max_epochs=1)
    trainer.fit(Model(0.2, depth=5), loader())
    trainer.save_checkpoint(seen.folder / "one.ckpt")
    found = Model.load_from_checkpoint(seen.folder / "one.ckpt", lr=0.3)
    with (seen.folder / "one.ckpt").open("rb") as file:
        seen.values["hparams"] = [dict(module.hparams) for module in (found, Model.load_from_checkpoint(file))]
    seen.modules.append(found)


@program
def hyperparameters_that_a_constructor_completes(seen: Seen) -> None:
    class Base(Trained):
        def __init__(self, lr: float, sizes: Any = None, **kwargs: Any) -> None:
            sizes = sizes or [1]
            super().__init__(lr)
            self.save_hyperparameters()

    class Model(Base):
        def __init__(self, depth: int = 1, **kwargs: Any) -> None:
            depth = depth * 2
            kwargs["width"] = 3
            super().__init__(0.1, depth=depth, **kwargs)
            self.save_hyperparameters("depth")

    model = seen.watched(Model(2))
    seen.values["hparams"] = dict(model.hparams)
    seen.values["initial"] = dict(model.hparams_initial)
    seen.values["keys"] = [
        getattr(kind, f"CHECKPOINT_HYPER_PARAMS_{name}")
        for kind in (pl.LightningModule, pl.LightningDataModule)
        for name in ("KEY", "NAME", "TYPE")
    ]


@program
def hyperparameters_of_a_base_class(seen: Seen) -> None:
    class Base(Trained):
        def __init__(self, lr: float = 0.1, sizes: Any = None) -> None:
            super().__init__(lr)
            self.remember()

        def remember(self) -> None:
            self.save_hyperparameters()

    class Model(Base):
        def __init__(self, depth: int = 1) -> None:
            super().__init__(0.2, sizes=[1])

    class Fewer(Base):
        def __init__(self, lr: float = 0.3) -> None:
            super().__init__(lr, sizes=[1])
            self.save_hyperparameters(ignore="lr")

    model = Model(3)
    model.hparams.sizes.append(2)
    model.hparams_initial.sizes.append(3)
    for kept in (model.hparams, model.hparams_initial, Fewer().hparams, Fewer().hparams_initial):
        seen.values.setdefault("kept", []).append(dict(kept))


@program
def hyperparameters_in_one_argument(seen: Seen) -> None:
    class Held(Trained):
        def __init__(self, hparams: Any, rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters(hparams)

    trainer = seen.trainer(max_epochs=1)
    for kept in ({"depth": 3}, Namespace(depth=3)):
        trainer.fit(Held(kept), loader(4))
        trainer.save_checkpoint(seen.folder / "held.ckpt")
        saved = torch.load(seen.folder / "held.ckpt", weights_only=False)
        seen.values.setdefault("saved", []).append([saved["hparams_name"], saved["hyper_parameters"]])
        loaded = [
            Held.load_from_checkpoint(seen.folder / "held.ckpt", **new) for new in ({}, {"depth": 4}, {"width": 5})
        ]
        seen.values.setdefault("loaded", []).append([dict(module.hparams) for module in loaded])
    seen.values["none"] = dict(Held(None).hparams)
