"""Arguments of the Trainer."""

from __future__ import annotations

import datetime
import os
from typing import Any

import lightning.pytorch as pl
import torch

from parity.models import Loaded, Stream, Trained, Whole, batches, loader
from parity.recording import Seen, program


@program
def one_batch_of_everything(seen: Seen) -> None:
    seen.trainer(fast_dev_run=True).fit(seen.watched(Whole()), loader(), loader(4))


@program
def three_batches_of_everything(seen: Seen) -> None:
    trainer = seen.trainer(fast_dev_run=3)
    model = seen.watched(Loaded())
    trainer.fit(model)
    seen.values["test"] = trainer.test(model, verbose=False)


@program
def limits_by_count(seen: Seen) -> None:
    trainer = seen.trainer(limit_train_batches=2, limit_val_batches=1, limit_test_batches=1, limit_predict_batches=1)
    model = seen.watched(Whole())
    trainer.fit(model, loader(), loader(4))
    trainer.test(model, loader(4), verbose=False)
    trainer.predict(model, batches(4))


@program
def limits_by_share(seen: Seen) -> None:
    trainer = seen.trainer(limit_train_batches=0.5, limit_val_batches=0.5, limit_test_batches=0.5)
    model = seen.watched(Whole())
    trainer.fit(model, loader(), loader(8))
    trainer.test(model, loader(8), verbose=False)


@program
def no_training_batches(seen: Seen) -> None:
    seen.trainer(limit_train_batches=0).fit(seen.watched(Whole()), loader(), loader(4))


@program
def no_validation_batches(seen: Seen) -> None:
    seen.trainer(limit_val_batches=0).fit(seen.watched(Whole()), loader(), loader(4))


@program
def a_batch_to_overfit(seen: Seen) -> None:
    seen.trainer(overfit_batches=1, max_epochs=3).fit(seen.watched(Whole()), loader(8, shuffle=True), loader(4))


@program
def validation_twice_an_epoch(seen: Seen) -> None:
    seen.trainer(val_check_interval=0.5).fit(seen.watched(Whole()), loader(10), loader(4))


@program
def validation_every_three_batches(seen: Seen) -> None:
    seen.trainer(val_check_interval=3).fit(seen.watched(Whole()), loader(10), loader(4))


@program
def validation_by_batches_across_epochs(seen: Seen) -> None:
    trainer = seen.trainer(val_check_interval=6, check_val_every_n_epoch=None, max_epochs=3)
    trainer.fit(seen.watched(Whole()), loader(8), loader(4))


@program
def validation_every_second_epoch(seen: Seen) -> None:
    seen.trainer(check_val_every_n_epoch=2, max_epochs=4).fit(seen.watched(Whole()), loader(), loader(4))


@program
def a_validation_interval_longer_than_the_epoch(seen: Seen) -> None:
    seen.trainer(val_check_interval=100).fit(seen.watched(Whole()), loader(), loader(4))


@program
def no_sanity_check(seen: Seen) -> None:
    seen.trainer(num_sanity_val_steps=0).fit(seen.watched(Whole()), loader(), loader(4))


@program
def a_whole_sanity_check(seen: Seen) -> None:
    seen.trainer(num_sanity_val_steps=-1, max_epochs=1).fit(seen.watched(Whole()), loader(), loader(8))


@program
def loaders_made_anew(seen: Seen) -> None:
    seen.trainer(reload_dataloaders_every_n_epochs=2, max_epochs=4).fit(seen.watched(Loaded()))


@program
def several_loaders_made_anew(seen: Seen) -> None:
    class Model(Loaded):
        def train_dataloader(self) -> Any:
            return {"one": loader(8, shuffle=True), "other": loader(6, shuffle=True)}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch["one"], batch_idx)

    seen.trainer(reload_dataloaders_every_n_epochs=1, max_epochs=3).fit(seen.watched(Model()))


@program
def half_of_an_unknown_length(seen: Seen) -> None:
    stream = torch.utils.data.DataLoader(Stream(8), 2)
    seen.trainer(limit_train_batches=3, limit_val_batches=1).fit(seen.watched(Whole()), stream, stream)


@program
def time_is_up(seen: Seen) -> None:
    seen.trainer(max_time=datetime.timedelta(seconds=0)).fit(seen.watched(Trained()), loader())


@program
def flags_from_the_environment(seen: Seen) -> None:
    import os

    os.environ["PL_TRAINER_LIMIT_TRAIN_BATCHES"] = "2"
    try:
        seen.trainer().fit(seen.watched(Trained()), loader())
    finally:
        del os.environ["PL_TRAINER_LIMIT_TRAIN_BATCHES"]


@program
def no_frills(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("ignored", 1.0)
            return self.loss(batch)

    import lightning.pytorch as pl

    trainer = pl.Trainer(barebones=True, max_epochs=1, accelerator="cpu")
    trainer.fit(seen.watched(Model()), loader())
    seen.values["steps"] = trainer.global_step


@program
def double_precision(seen: Seen) -> None:
    seen.trainer(precision="64-true").fit(seen.watched(Whole()), loader(), loader(4))


@program
def bfloat16_mixed(seen: Seen) -> None:
    seen.trainer(precision="bf16-mixed").fit(seen.watched(Whole()), loader(), loader(4))


@program
def bfloat16_throughout(seen: Seen) -> None:
    seen.trainer(precision="bf16-true").fit(seen.watched(Whole()), loader(), loader(4))


@program
def anomalies_are_found(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.loss(batch) * 0).sqrt()

    seen.trainer(detect_anomaly=True).fit(seen.watched(Model()), loader())


@program
def a_wrong_flag(seen: Seen) -> None:
    seen.trainer(limit_train_batches=1.5)


@program
def a_fast_run_has_all_its_parts(seen: Seen) -> None:
    class Model(Whole):
        def on_train_start(self) -> None:
            self.logger.experiment.anything("goes")
            self.logger.log_metrics({"own": 1.0}, step=0)

    saver = pl.callbacks.ModelCheckpoint(seen.folder / "kept", monitor="val_loss")
    options = {"fast_dev_run": 2, "callbacks": [saver], "enable_checkpointing": None}
    trainer = seen.trainer(**options)
    trainer.fit(seen.watched(Model()), loader(), loader())
    seen.values["saver"] = [trainer.checkpoint_callback is saver, saver.best_model_path, saver.last_model_path]
    seen.values["files"] = [path.name for path in seen.folder.rglob("*.ckpt")]
    seen.values["logger"] = [type(trainer.logger).__name__, len(trainer.loggers)]
    seen.values["none"] = seen.trainer(fast_dev_run=True, logger=False).loggers


@program
def deterministic_is_switched_off_again(seen: Seen) -> None:
    for given in (True, None, False, "warn", False):
        seen.trainer(deterministic=given)
        asked = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        seen.values.setdefault("asked", []).append([*asked, os.environ.get("CUBLAS_WORKSPACE_CONFIG")])


@program
def whole_numbers_written_as_floats(seen: Seen) -> None:
    trainer = seen.trainer(max_steps=1e1, limit_val_batches=1.0, val_check_interval=2.0)
    trainer.fit(seen.watched(Whole()), loader(), loader(4))
    trainer = seen.trainer(limit_train_batches=3.0, gradient_clip_val=0.1, gradient_clip_algorithm="NORM")
    trainer.fit(seen.watched(Whole()), loader(), loader(4))


@program
def one_batch_whatever_the_intervals_say(seen: Seen) -> None:
    trainer = seen.trainer(fast_dev_run=True, val_check_interval=100, check_val_every_n_epoch=5)
    trainer.fit(seen.watched(Whole()), loader(), loader(4))
    seen.values["intervals"] = (trainer.val_check_interval, trainer.check_val_every_n_epoch)


@program
def limits_that_follow_from_others(seen: Seen) -> None:
    class Stopping(Whole):
        def on_train_start(self) -> None:
            self.trainer.should_stop = True

    for options in ({"min_steps": 3, "max_epochs": 4}, {"check_val_every_n_epoch": None, "max_epochs": 3}):
        seen.trainer(**options).fit(seen.watched(Stopping()), loader(4), loader(4))
