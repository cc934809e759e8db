"""A CUDA device."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from parity.models import Data, Loaded, Trained, Whole, loader, samples
from parity.recording import Seen, on_gpu


def placed(value: Any) -> Any:
    """Where the tensors of a nested value are."""
    if isinstance(value, torch.Tensor):
        return str(value.device)
    if isinstance(value, dict):
        return {key: placed(item) for key, item in value.items()}
    return [placed(item) for item in value] if isinstance(value, (list, tuple)) else None


class Placed(Loaded):
    """Notes where batches, weights, states and metrics are in each hook."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.note = lambda where, value: seen.values.setdefault(where, []).append(placed(value))
        self.register_buffer("count", torch.zeros(1))

    def setup(self, stage: str) -> None:
        self.note("setup", [self.count])

    def configure_optimizers(self) -> Any:
        self.note("optimizers", list(self.parameters()))
        return torch.optim.Adam(self.parameters(), lr=0.01)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.note("train", [batch, self.count])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.note("outputs", outputs)
        self.note("states", self.optimizers().optimizer.state_dict()["state"])

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.note("validation", batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.note("saved", checkpoint["state_dict"])

    def teardown(self, stage: str) -> None:
        self.note("teardown", list(self.parameters()))


@on_gpu
def where_everything_is(seen: Seen) -> None:
    model = seen.watched(Placed(seen))
    trainer = seen.trainer(max_epochs=2)
    trainer.fit(model)
    model.note("after fit", [model.device, model.count, list(model.parameters())])
    trainer.save_checkpoint(seen.folder / "one.ckpt")
    kept = torch.load(seen.folder / "one.ckpt", weights_only=False, map_location=None)
    model.note("kept", kept["state_dict"])
    trainer.validate(model, verbose=False)
    model.note("predictions", trainer.predict(model))
    model.note("after predict", list(model.parameters()))
    again = type(model).load_from_checkpoint(seen.folder / "one.ckpt", seen=seen)
    model.note("loaded", list(again.parameters()))
    there = type(model).load_from_checkpoint(seen.folder / "one.ckpt", map_location="cpu", seen=seen)
    model.note("loaded to the CPU", list(there.parameters()))


@on_gpu
def what_a_trainer_says_of_its_device(seen: Seen) -> None:
    for options in ({"accelerator": "gpu", "devices": 1}, {"accelerator": "cuda", "devices": [0]}, {"devices": "auto"}):
        trainer = seen.trainer(**{"accelerator": "auto", **options})
        seen.values[str(options)] = {
            "device": str(trainer.strategy.root_device),
            "devices": trainer.num_devices,
            "ids": trainer.device_ids,
            "accelerator": type(trainer.accelerator).__name__,
            "strategy": type(trainer.strategy).__name__,
        }


@on_gpu
def batches_of_all_shapes(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("placed", []).append(placed(batch))
            return self.loss(batch["pair"])

    def collate(items: Any) -> Any:
        inputs, targets = zip(*items, strict=True)
        pair = (torch.stack(inputs), torch.stack(targets))
        return {"pair": pair, "text": ["a", "b"], "nested": {"numbers": [torch.ones(2, dtype=torch.int64), 3]}}

    model = seen.watched(Model())
    seen.trainer(max_epochs=1).fit(model, DataLoader(samples(8), 2, collate_fn=collate, pin_memory=True))


class Clipped(Trained):
    """Gradients that overflow float16 on the way, at first."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch) * 40
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log("largest", max(parameter.grad.abs().max() for parameter in self.parameters()))


def scaled(trainer: Any) -> Any:
    scaler = trainer.precision_plugin.scaler
    return {key: float(value) for key, value in scaler.state_dict().items()}


@on_gpu
def float16_mixed(seen: Seen) -> None:
    for options in (
        {},
        {"gradient_clip_val": 0.5},
        {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
        {"accumulate_grad_batches": 2},
    ):
        trainer = seen.trainer(precision="16-mixed", **options)
        trainer.fit(seen.watched(Clipped()), loader(), loader(4))
        seen.values[str(options)] = scaled(trainer)


@on_gpu
def float16_mixed_by_hand(seen: Seen) -> None:
    class Model(Clipped):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            self.clip_gradients(optimizer, 0.3, "norm")
            optimizer.step()

    trainer = seen.trainer(precision="16-mixed")
    trainer.fit(seen.watched(Model()), loader())
    seen.values["scaler"] = scaled(trainer)


@on_gpu
def float16_mixed_goes_on_from_a_checkpoint(seen: Seen) -> None:
    first = seen.trainer(precision="16-mixed", max_epochs=1)
    first.fit(seen.watched(Clipped()), loader())
    first.save_checkpoint(seen.folder / "one.ckpt")
    second = seen.trainer(precision="16-mixed", max_epochs=3)
    second.fit(seen.watched(Clipped()), loader(), ckpt_path=seen.folder / "one.ckpt")
    seen.values["scalers"] = [scaled(first), scaled(second)]


@on_gpu
def float16_and_bfloat16_throughout(seen: Seen) -> None:
    for precision in ("16-true", "bf16-true", "bf16-mixed", "64-true"):
        trainer = seen.trainer(precision=precision)
        trainer.fit(seen.watched(Whole()), loader(), loader(4))
        seen.values[precision] = [str(parameter.dtype) for parameter in trainer.lightning_module.parameters()]


class Convolutional(Trained):
    """Convolutions and batch norm, whose kernels cuDNN chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(inputs[:, None])
        return output


@on_gpu
def deterministic_kernels(seen: Seen) -> None:
    pl.seed_everything(3, workers=True)
    trainer = seen.trainer(deterministic=True)
    trainer.fit(seen.watched(Convolutional()), loader(batch_size=4))
    seen.values["flags"] = [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark]
    torch.use_deterministic_algorithms(False)


@on_gpu
def benchmarks_of_cudnn(seen: Seen) -> None:
    for benchmark in (True, False, None):
        trainer = seen.trainer(benchmark=benchmark, max_epochs=1, limit_train_batches=1)
        trainer.fit(seen.watched(Trained()), loader())
        seen.values[str(benchmark)] = torch.backends.cudnn.benchmark


@on_gpu
def the_random_generator_of_the_device(seen: Seen) -> None:
    class Model(Trained):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.values.setdefault("drawn", []).append(torch.rand(2, device=self.device))
            return super().training_step(batch, batch_idx)

    for _ in range(2):
        pl.seed_everything(11)
        seen.trainer(max_epochs=1).fit(seen.watched(Model()), loader(shuffle=True))


@on_gpu
def memory_of_the_device_is_logged(seen: Seen) -> None:
    kept: list[Any] = []

    class Names(pl.loggers.CSVLogger):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            kept.append((step, sorted(metrics)))

    monitor = pl.callbacks.DeviceStatsMonitor()
    trainer = seen.trainer(callbacks=[monitor], max_epochs=1, logger=Names(seen.folder))
    trainer.fit(seen.watched(Trained()), loader())
    seen.values["logged"] = kept


@on_gpu
def a_data_module(seen: Seen) -> None:
    class Moved(Data):
        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            seen.values.setdefault("devices", []).append(str(device))
            return super().transfer_batch_to_device(batch, device, dataloader_idx)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            seen.values.setdefault("after", []).append(placed(batch))
            return batch

    trainer = seen.trainer()
    trainer.fit(seen.watched(Whole()), datamodule=seen.watched(Moved(), "data"))


@on_gpu
def a_compiled_module(seen: Seen) -> None:
    model = Trained()
    model.dropout = 0.0
    model.network = torch.compile(model.network)
    trainer = seen.trainer(precision="bf16-mixed")
    trainer.fit(seen.watched(model), loader(16))
    seen.values["keys"] = sorted(model.state_dict())


@on_gpu
def one_process_of_nccl(seen: Seen) -> None:
    trainer = seen.trainer(strategy="ddp", sync_batchnorm=True, use_distributed_sampler=False)
    model = seen.watched(Convolutional())
    trainer.fit(model, loader(batch_size=4))
    seen.values["together"] = sum(isinstance(layer, nn.SyncBatchNorm) for layer in model.network)
    seen.values["backend"] = torch.distributed.get_backend()
    seen.values["gathered"] = list(trainer.strategy.all_gather(torch.ones(2, device="cuda")).shape)
    seen.values["reduced"] = trainer.strategy.reduce(torch.ones(2, device="cuda"))
