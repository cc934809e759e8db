"""Validation, test and prediction, alone and within a fit."""

from __future__ import annotations

from typing import Any

import torch

from parity.models import Data, Loaded, Trained, Whole, batches, loader
from parity.recording import Seen, program


@program
def validate_alone(seen: Seen) -> None:
    seen.values["results"] = seen.trainer().validate(seen.watched(Whole()), loader(6), verbose=False)


@program
def test_alone(seen: Seen) -> None:
    seen.values["results"] = seen.trainer().test(seen.watched(Loaded()), verbose=False)


@program
def predict_alone(seen: Seen) -> None:
    seen.values["predictions"] = seen.trainer().predict(seen.watched(Whole()), batches(6))


@program
def predict_by_forward(seen: Seen) -> None:
    class Model(Whole):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return super().predict_step(batch, batch_idx).sum() + dataloader_idx

    trainer = seen.trainer()
    model = seen.watched(Model())
    seen.values["kept"] = trainer.predict(model, [batches(4), batches(6)])
    seen.values["dropped"] = trainer.predict(model, batches(4), return_predictions=False)


@program
def every_stage_after_a_fit(seen: Seen) -> None:
    trainer = seen.trainer(max_epochs=1)
    data = seen.watched(Data(), "data")
    model = seen.watched(Whole())
    trainer.fit(model, datamodule=data)
    seen.values["validation"] = trainer.validate(model, datamodule=data, verbose=False)
    seen.values["test"] = trainer.test(model, datamodule=data, verbose=False)
    seen.values["predictions"] = trainer.predict(model, datamodule=data)


@program
def several_validation_loaders(seen: Seen) -> None:
    class Model(Whole):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("val_loss", self.loss(batch))
            self.log(f"own_{dataloader_idx}", self.loss(batch), add_dataloader_idx=False)

    seen.trainer().fit(seen.watched(Model()), loader(), [loader(4), loader(6)])


@program
def several_test_loaders(seen: Seen) -> None:
    class Model(Whole):
        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            self.log("test_loss", self.loss(batch), on_step=True, on_epoch=True)

    results = seen.trainer().test(seen.watched(Model()), [loader(4), loader(6)], verbose=False)
    seen.values["results"] = results


@program
def no_gradients_in_evaluation(seen: Seen) -> None:
    class Model(Whole):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("modes", []).append(
                (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), self.training)
            )

    trainer = seen.trainer(max_epochs=1)
    trainer.fit(seen.watched(Model()), loader(), loader(4))
    trainer.validate(seen.modules[0], loader(4), verbose=False)
    seen.trainer(inference_mode=False).validate(seen.modules[0], loader(4), verbose=False)


@program
def outputs_reach_the_batch_hooks(seen: Seen) -> None:
    class Model(Whole):
        def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            seen.values.setdefault("outputs", []).append(outputs)

    seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader(), loader(4))


@program
def validation_loss_of_an_uneven_last_batch(seen: Seen) -> None:
    seen.values["results"] = seen.trainer().validate(seen.watched(Whole()), loader(7, 3), verbose=False)


@program
def a_test_without_a_test_step(seen: Seen) -> None:
    from parity.models import Trained

    seen.trainer().test(seen.watched(Trained()), loader(4), verbose=False)


@program
def a_test_without_a_loader(seen: Seen) -> None:
    seen.trainer().test(seen.watched(Whole()), verbose=False)


@program
def steps_that_take_whatever_comes(seen: Seen) -> None:
    class Model(Whole):
        def validation_step(self, *args: Any) -> None:
            got.append(("validation", *args[1:]))
            self.log("val_loss", self.loss(args[0]))

        def test_step(self, *args: Any, **kwargs: Any) -> None:
            got.append(("test", *args[1:], sorted(kwargs)))

    class Direct(Trained):
        def forward(self, inputs: Any) -> Any:
            return super().forward(inputs[0])

    got = seen.values.setdefault("got", [])
    trainer, loaders = seen.trainer(max_epochs=1), [loader(8), loader(4)]
    model = seen.watched(Model())
    trainer.fit(model, loader(8), loaders)
    trainer.test(model, loaders, verbose=False)
    seen.values["predicted"] = trainer.predict(Direct(), [batches(4), batches(6)])


@program
def nothing_to_evaluate(seen: Seen) -> None:
    trainer = seen.trainer(limit_val_batches=0, limit_test_batches=0, limit_predict_batches=0)
    model = seen.watched(Loaded())
    seen.values["results"] = [trainer.validate(model), trainer.test(model), trainer.predict(model) or []]
    seen.values["read"] = [trainer.val_dataloaders, trainer.test_dataloaders, trainer.predict_dataloaders]
    seen.values["empty"] = seen.trainer().validate(seen.watched(Whole()), loader(0))
