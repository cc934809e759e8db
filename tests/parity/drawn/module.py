"""The module of a drawn program, and the callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torchmetrics
from torch import Tensor, nn
from torch.optim import lr_scheduler

from parity.drawn.agreed import Spec

STEPS = {"training_step", "validation_step", "test_step", "configure_optimizers"}
"""What a module has anyway, where it is no plain hook."""


class Drawn(RuntimeError):
    """What a program raises of itself."""


class Module(pl.LightningModule):
    """A network of two parts, with what the program does in its steps."""

    def __init__(self, module: Spec) -> None:
        super().__init__()
        middle = [nn.BatchNorm1d(3)] if module["batch_norm"] else []
        self.backbone = nn.Sequential(nn.Linear(4, 3), *middle, nn.Tanh(), nn.Dropout(module["dropout"]))
        self.head = nn.Linear(3, 1)
        self.module = module
        self.calls: dict[str, int] = {}
        self.mean = torchmetrics.MeanMetric() if module["metrics"] else None
        self.val_mean = torchmetrics.MeanMetric() if module["metrics"] else None
        self.automatic_optimization = not module["manual"]
        if module["in_eval"]:
            self.backbone.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.backbone(inputs.to(self.head.weight.dtype)))
        return output

    def loss(self, batch: Any) -> Tensor:
        """Of a batch, or the sum over those of several loaders, some of which may have ended."""
        if isinstance(batch, list) and isinstance(batch[0], list):
            batch = dict(enumerate(batch))
        if isinstance(batch, dict):
            return torch.stack([self.loss(part) for part in batch.values() if part is not None]).sum()
        inputs, targets = batch
        return nn.functional.mse_loss(self(inputs), targets.to(self.head.weight.dtype))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        module = self.module
        self.act("training_step")
        loss = self.loss(batch)
        self.seen_loss = loss.detach()
        self.log("loss", self.seen_loss, **module["loss"], **module["sync"])
        self.say("training_step", batch_idx)
        if "training_step" in module["metrics"]:
            self.mean(self.seen_loss)
            self.log("mean", self.mean, on_step=True, on_epoch=True)
        if module["stops"] is not None and self.trainer.global_step >= module["stops"]:
            self.trainer.should_stop = True
        if module["manual"]:
            return self.step_by_hand(loss, batch_idx)
        if module["returns"] == "sometimes" and batch_idx % 3 == 1:
            return None
        return {"loss": loss, "more": 1} if module["returns"] == "dict" else loss

    def step_by_hand(self, loss: Tensor, batch_idx: int) -> None:
        optimizers = _listed(self.optimizers())
        if self.module["by_hand"] == "accumulated":
            self.accumulate_by_hand(optimizers, loss, batch_idx)
        else:
            for optimizer in optimizers:
                self.differentiate(optimizer, loss)
            for optimizer in optimizers:
                optimizer.step()
        for scheduler in _listed(self.lr_schedulers()) if batch_idx % 2 else ():
            watches = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
            scheduler.step(*([loss.detach()] if watches else []))

    def differentiate(self, optimizer: Any, loss: Tensor) -> None:
        if self.module["by_hand"] == "context":
            with optimizer.toggle_model():
                optimizer.zero_grad()
                self.manual_backward(loss, retain_graph=True)
            return
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss, retain_graph=True)
        self.untoggle_optimizer(optimizer)

    def accumulate_by_hand(self, optimizers: list[Any], loss: Tensor, batch_idx: int) -> None:
        self.manual_backward(loss)
        for optimizer in optimizers if batch_idx % 2 else ():
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="value")
            optimizer.step()
            optimizer.zero_grad()

    def say(self, hook: str, index: int) -> None:
        """What the program logs in a hook."""
        for call in _log_calls(self.module):
            if call["hook"] != hook or index % call["every"]:
                continue
            value = self.value(call["value"], index)
            if call["as"] == "log_dict":
                self.log_dict({call["name"]: value, f"{call['name']}_too": value}, **call["options"])
            else:
                self.log(call["name"], value, **call["options"])

    def value(self, kind: str, index: int) -> Any:
        if kind == "loss" and hasattr(self, "seen_loss"):
            return self.seen_loss * 2
        if kind == "step":
            return torch.tensor(float(self.global_step))
        return float(index) if kind == "index" else 3.5

    def act(self, hook: str) -> None:
        """What the program does in a hook beside logging."""
        module = self.module
        if hook == "on_train_epoch_start":
            if self.current_epoch in module["accumulates"]:
                self.trainer.accumulate_grad_batches = module["accumulates"][self.current_epoch]
            if self.current_epoch == module["freezes"]:
                self.backbone.requires_grad_(False)
        if hook in module["draws"]:
            torch.rand(1)
        if (fails := module["fails"]) is not None and fails["hook"] == hook:
            self.calls[hook] = self.calls.get(hook, 0) + 1
            if self.calls[hook] == fails["call"]:
                raise Drawn(hook)

    def configure_optimizers(self) -> Any:
        self.act("configure_optimizers")
        wanted = self.module["optimizers"]
        parts = [self.backbone, self.head] if len(wanted) == 2 else [self]
        made = [_optimizer(optimizer, part) for optimizer, part in zip(wanted, parts, strict=True)]
        return _shaped(made, self.module["shape"])


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [] if given is None else [given]


def _log_calls(module: Spec) -> list[Spec]:
    return [*module["logs"], *module["val_logs"], *module["test_logs"]]


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 1, 0.9),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.8),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 10),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=200, cycle_momentum=False),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.95**step),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
    "Sequential": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        [3],
    ),
}


def _optimizer(wanted: Spec, part: nn.Module) -> tuple[Any, list[Any]]:
    parameters: Any = [parameter for parameter in part.parameters() if parameter.requires_grad]
    if wanted["groups"] == 2:
        parameters = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.05}]
    optimizer = getattr(torch.optim, wanted["name"])(parameters, lr=wanted["lr"])
    made: list[Any] = []
    for chosen in wanted["schedulers"]:
        scheduler = SCHEDULERS[chosen["name"]](optimizer)
        kept = {key: chosen[key] for key in ("interval", "frequency", "monitor", "strict") if key in chosen}
        made.append(scheduler if chosen["bare"] else {"scheduler": scheduler} | kept)
    return optimizer, made


def _shaped(made: list[tuple[Any, list[Any]]], shape: str) -> Any:
    """One of the shapes that ``configure_optimizers`` may return."""
    optimizers = [optimizer for optimizer, _ in made]
    schedulers = [scheduler for _, own in made for scheduler in own]
    if len(made) == 1 and len(schedulers) < 2 and shape in ("plain", "dict"):
        if shape == "plain" and not schedulers:
            return optimizers[0]
        return {"optimizer": optimizers[0]} | ({"lr_scheduler": schedulers[0]} if schedulers else {})
    return (optimizers, schedulers) if schedulers or shape == "pair" else optimizers


def make(spec: Spec, loaders: dict[str, Callable[[Any], Any]]) -> Module:
    """A module with the hooks that the program uses and no other, since a hook that is there is called."""
    module = spec["module"]
    hooks = {call["hook"] for call in _log_calls(module)} | set(module["draws"])
    hooks |= {module["fails"]["hook"]} if module["fails"] is not None else set()
    hooks |= {"on_train_epoch_start"} if module["accumulates"] or module["freezes"] is not None else set()
    members: dict[str, Any] = {hook: _hook(hook) for hook in sorted(hooks - STEPS)}
    members |= {name: MEMBERS[name] for name in module["overrides"]} | loaders
    if spec["data"]["val"] or {"validate", "best"} & set(spec["then"]):
        members["validation_step"] = _validation_step
    if "test" in spec["then"]:
        members["test_step"] = _test_step
    if "predict" in spec["then"]:
        members["predict_step"] = lambda self, batch, batch_idx: self(batch[0])
    if module["brings"]:
        members["configure_callbacks"] = lambda self: [_brought(module["brings"])]
    if module["skips"] is not None:
        members["on_train_batch_start"] = _skipping
    return type("Drawn", (Module,), members)(module)


def _hook(name: str) -> Callable[..., Any]:
    position = {"batch_start": 1, "batch_end": 2}.get("_".join(name.split("_")[-2:]))

    def hook(self: Any, *args: Any, **kwargs: Any) -> None:
        self.act(name)
        self.say(name, args[position] if position is not None else 0)

    return hook


def _validation_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
    self.act("validation_step")
    loss = self.loss(batch)
    if "validation_step" in self.module["metrics"]:
        self.val_mean.update(loss)
        self.log("val_mean", self.val_mean)
    self.log("val_loss", loss, add_dataloader_idx=dataloader_idx == 1, **self.module["sync"])
    self.say("validation_step", batch_idx)
    return loss


def _test_step(self: Any, batch: Any, batch_idx: int) -> Any:
    self.log("test_loss", self.loss(batch), on_step=True, on_epoch=True, **self.module["sync"])
    self.say("test_step", batch_idx)


def _skipping(self: Any, batch: Any, batch_idx: int) -> Any:
    self.act("on_train_batch_start")
    return -1 if batch_idx == self.module["skips"] else None


def _clipping(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
    self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm=self.trainer.gradient_clip_algorithm)


def _stepping(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
    """Leaves out some steps."""
    if batch_idx % 3 == 2:
        optimizer_closure()
    else:
        optimizer.step(closure=optimizer_closure)


def _scheduling(self: Any, scheduler: Any, metric: Any) -> None:
    scheduler.step() if metric is None else scheduler.step(metric)


MEMBERS: dict[str, Callable[..., Any]] = {
    "configure_gradient_clipping": _clipping,
    "optimizer_step": _stepping,
    "optimizer_zero_grad": lambda self, epoch, batch_idx, optimizer: optimizer.zero_grad(set_to_none=False),
    "backward": lambda self, loss, *args, **kwargs: (loss * 2).backward(*args, **kwargs),
    "lr_scheduler_step": _scheduling,
    "on_after_batch_transfer": lambda self, batch, dataloader_idx: batch,
}


def _brought(name: str) -> Any:
    if name == "EarlyStopping":
        return pl.callbacks.EarlyStopping("loss", patience=1)
    return pl.callbacks.ModelCheckpoint(monitor="loss", save_top_k=2)


def callback(wanted: Spec, folder: Path) -> Any:
    """One of the Trainer's callbacks."""
    name, options = wanted["name"], wanted["options"]
    if name == "Logging":
        members = {call["hook"]: _logging_hook(call) for call in options["logs"]}
        return type("Logging", (pl.Callback,), members)()
    return getattr(pl.callbacks, name)(**options, **({"dirpath": folder} if name == "ModelCheckpoint" else {}))


def _logging_hook(call: Spec) -> Callable[..., Any]:
    def hook(self: Any, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.log(call["name"], pl_module.value(call["value"], 1), **call["options"])

    return hook
