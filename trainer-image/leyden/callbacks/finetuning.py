"""Training a part of a module first, and the rest later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from leyden.callbacks.base import Callback
from leyden.errors import MisconfigurationError, at_least
from leyden.rank_zero import is_rank_zero

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

Modules = nn.Module | Iterable[Any]
"""A module, or modules nested in lists."""


class BaseFinetuning(Callback):
    """Override ``freeze_before_training`` and ``finetune_function``.

    Parameter groups that are added on the way are in the callback's state, so that a resumed run has them again.
    """

    def __init__(self) -> None:
        self._groups: dict[int, list[dict[str, Any]]] = {}
        self._resumed = False

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze what is not trained from the start; runs before ``configure_optimizers``."""
        raise NotImplementedError

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Thaw what is due in this epoch; runs at the start of each, for each optimizer."""
        raise NotImplementedError

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed:
            parameters = dict(pl_module.named_parameters())
            for index, groups in self._groups.items():
                trainer.optimizers[index].param_groups = [_renamed(group, parameters) for group in groups]
        self._resumed = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = {parameter: name for name, parameter in pl_module.named_parameters()}
        for index, optimizer in enumerate(trainer.optimizers):
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
            self._groups[index] = [_renamed(group, names) for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {"internal_optimizer_metadata": self._groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._groups = state_dict["internal_optimizer_metadata"]
        self._resumed = True

    @staticmethod
    def flatten_modules(modules: Modules) -> list[nn.Module]:
        """The modules within that have parameters of their own or no children."""
        if isinstance(modules, nn.ModuleDict):
            modules = modules.values()
        if isinstance(modules, Iterable):
            found = [part for module in modules for part in BaseFinetuning.flatten_modules(module)]
        else:
            found = list(modules.modules())
        return [part for part in found if part._parameters or not list(part.children())]

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[Tensor]:
        """Parameters by whether they require gradients; those of batch norm only with ``train_bn``."""
        for part in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(part, _BatchNorm):
                yield from (p for p in part.parameters(recurse=False) if p.requires_grad == requires_grad)

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Let all parameters require gradients."""
        for part in BaseFinetuning.flatten_modules(modules):
            _let_train(part, True)

    @staticmethod
    def freeze_module(module: nn.Module) -> None:
        """Freeze a single module's own parameters."""
        _let_train(module, False)

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Let no parameter require gradients, but for batch norm's with ``train_bn``."""
        for part in BaseFinetuning.flatten_modules(modules):
            _let_train(part, train_bn and isinstance(part, _BatchNorm))

    @staticmethod
    def filter_on_optimizer(optimizer: Optimizer, params: Iterable[Tensor]) -> list[Tensor]:
        """Those of ``params`` that the optimizer does not have yet."""
        known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        return [parameter for parameter in params if id(parameter) not in known]

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Thaw modules and add them to the optimizer as a group with ``lr``, by default the first group's rate over
        ``initial_denom_lr``."""
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else float(lr)
        trained = BaseFinetuning.filter_params(modules, train_bn=train_bn)
        if fresh := BaseFinetuning.filter_on_optimizer(optimizer, trained):
            optimizer.add_param_group({"params": fresh, "lr": rate})


class BackboneFinetuning(BaseFinetuning):
    """Trains ``pl_module.backbone`` from ``unfreeze_backbone_at_epoch`` on, at a rate that grows each epoch.

    It starts at ``backbone_initial_lr`` or at the head's rate times ``backbone_initial_ratio_lr``, is multiplied by
    ``lambda_func(epoch + 1)``, and with ``should_align`` never exceeds the head's. ``verbose`` prints both, rounded to
    ``rounding`` digits.
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = lambda epoch: 2.0,
        backbone_initial_ratio_lr: float = 0.1,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        self.unfreeze_backbone_at_epoch = at_least("unfreeze_backbone_at_epoch", unfreeze_backbone_at_epoch, 0)
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        self.previous_backbone_lr: float | None = None

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(_backbone(pl_module), train_bn=self.train_bn)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        head = optimizer.param_groups[0]["lr"]
        if epoch == self.unfreeze_backbone_at_epoch:
            rate = (
                self.backbone_initial_lr
                if self.backbone_initial_lr is not None
                else head * self.backbone_initial_ratio_lr
            )
            backbone = _backbone(pl_module)
            self.unfreeze_and_add_param_group(backbone, optimizer, rate, self.initial_denom_lr, self.train_bn)
            self.previous_backbone_lr = rate
            self._tell(head, rate)
        elif epoch > self.unfreeze_backbone_at_epoch and self.previous_backbone_lr is not None:
            rate = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            rate = head if self.should_align and rate > head else rate
            optimizer.param_groups[-1]["lr"] = self.previous_backbone_lr = rate
            self._tell(head, rate)

    def _tell(self, head: float, backbone: float) -> None:
        if self.verbose and is_rank_zero():
            print(f"learning rates: head {round(head, self.rounding)}, backbone {round(backbone, self.rounding)}")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]


def _let_train(module: nn.Module, trains: bool) -> None:
    """Whether a module's own parameters require gradients, and batch norm measures its inputs."""
    if isinstance(module, _BatchNorm):
        module.track_running_stats = trains
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad = trains


def _backbone(pl_module: LightningModule) -> nn.Module:
    backbone = getattr(pl_module, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise MisconfigurationError(f"BackboneFinetuning needs {type(pl_module).__qualname__}.backbone to be a module")
    return backbone


def _renamed(group: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    """A parameter group with its parameters replaced by their names, or names by parameters."""
    return {**group, "params": [names[entry] for entry in group["params"]]}
