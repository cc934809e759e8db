"""What a module consists of, printed before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from leyden.callbacks.base import Callback
from leyden.errors import bad_value

if TYPE_CHECKING:
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

UNITS = ("", " K", " M", " B", " T")


class ModelSummary(Callback):
    """Prints name, type, parameters and mode of all layers down to ``max_depth`` (-1: all; 0: the sums alone)."""

    def __init__(self, max_depth: int = 1) -> None:
        if not isinstance(max_depth, int) or max_depth < -1:
            raise bad_value("max_depth", max_depth, "an integer of at least -1")
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.max_depth:
            trainer.print(summary(pl_module, self.max_depth), flush=True)


def summary(module: nn.Module, max_depth: int = 1) -> str:
    """The table, and sums of parameters and bytes."""
    rows = [("", "Name", "Type", "Params", "Mode")]
    for name, part in module.named_modules():
        if name and (max_depth == -1 or name.count(".") < max_depth):
            mode = "train" if part.training else "eval"
            rows.append((str(len(rows) - 1), name, type(part).__name__, _human(_count(part)), mode))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    everything = {id(parameter): parameter for parameter in module.parameters()}.values()
    trained = sum(_size(parameter) for parameter in everything if parameter.requires_grad)
    total = sum(map(_size, everything))
    megabytes = sum(_size(parameter) * parameter.element_size() for parameter in everything) / 1e6
    lines.append(f"{_human(total)} parameters, {_human(trained)} of them trained, {megabytes:.3f} MB in memory")
    return "\n".join(lines)


def _count(module: nn.Module) -> int:
    return sum(map(_size, module.parameters()))


def _size(parameter: Tensor) -> int:
    """Elements; none as long as a lazy layer does not know its shape."""
    return 0 if isinstance(parameter, nn.UninitializedParameter) else parameter.numel()


def _human(number: int) -> str:
    value = float(number)
    for unit in UNITS[:-1]:
        if value < 1000:
            return f"{value:.1f}{unit}" if unit else str(number)
        value /= 1000
    return f"{value:.1f}{UNITS[-1]}"
