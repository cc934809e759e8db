"""What a module consists of, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from leyden.errors import at_least

UNITS = ("", " K", " M", " B", " T")
UNKNOWN = "?"


class ModelSummary:
    """Layers of ``model`` down to ``max_depth`` (-1: all; 0: the sums alone). ``print()`` shows the table.

    With an ``example_input_array`` it has sizes too, by one ``forward`` in evaluation mode, which leaves no trace.
    """

    def __init__(self, model: nn.Module, max_depth: int = 1) -> None:
        max_depth = at_least("max_depth", max_depth, -1)
        self._model = model
        self.named_modules = [
            (name, part)
            for name, part in model.named_modules()
            if name and (max_depth == -1 or name.count(".") < max_depth)
        ]
        self.layer_names = [name for name, _ in self.named_modules]
        self.layer_types = [type(part).__name__ for _, part in self.named_modules]
        self.training_modes = [part.training for _, part in self.named_modules]
        self._sizes: dict[str, tuple[Any, Any]] = {}
        if getattr(model, "example_input_array", None) is not None:
            self._run(model)
        sizes = [self._sizes.get(name, (UNKNOWN, UNKNOWN)) for name in self.layer_names]
        self.in_sizes = [shapes for shapes, _ in sizes]
        """Shapes of each layer's inputs; ``?`` for one that did not run."""
        self.out_sizes = [shapes for _, shapes in sizes]
        self.param_nums = [sum(map(_size, part.parameters())) for _, part in self.named_modules]

    @property
    def total_training_modes(self) -> dict[str, int]:
        """How many layers, at any depth, are in training and in evaluation mode."""
        modes = [part.training for part in self._model.modules() if part is not self._model]
        return {"train": modes.count(True), "eval": modes.count(False)}

    @property
    def total_parameters(self) -> int:
        return sum(map(_size, self._model.parameters()))

    @property
    def trainable_parameters(self) -> int:
        return sum(_size(parameter) for parameter in self._model.parameters() if parameter.requires_grad)

    @property
    def model_size(self) -> float:
        """Megabytes of the parameters."""
        return sum(_size(parameter) * parameter.element_size() for parameter in self._model.parameters()) / 1e6

    def _run(self, model: Any) -> None:
        from leyden.modes import in_evaluation, on_its_device

        trainer = getattr(model, "_trainer", None)
        context = trainer.precision_plugin.context() if trainer is not None else nullcontext()
        example = on_its_device(model, model.example_input_array)
        kwargs = example if isinstance(example, Mapping) else {}
        args = example if isinstance(example, (tuple, list)) else () if kwargs else (example,)
        hooks = [
            part.register_forward_hook(self._note(name), with_kwargs=True)
            for name, part in self.named_modules
            if not isinstance(part, torch.jit.ScriptModule)  # which take none
        ]
        try:
            with in_evaluation(model, model.device), context:
                model(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, name: str) -> Any:
        def note(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._sizes.setdefault(name, (_shapes([*args, *kwargs.values()]), _shapes([output])))

        return note

    def __str__(self) -> str:
        rows = [("", "Name", "Type", "Params", "Mode", *(("In sizes", "Out sizes") if self._sizes else ()))]
        layers = zip(self.layer_names, self.layer_types, self.param_nums, self.training_modes, strict=True)
        for index, (name, kind, count, training) in enumerate(layers):
            row = (str(index), name, kind, get_human_readable_count(count), "train" if training else "eval")
            sizes = (str(self.in_sizes[index]), str(self.out_sizes[index]))
            rows.append(row + (sizes if self._sizes else ()))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [" | ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        trained = f"{get_human_readable_count(self.trainable_parameters)} of them trained"
        total = get_human_readable_count(self.total_parameters)
        lines.append(f"{total} parameters, {trained}, {self.model_size:.3f} MB in memory")
        return "\n".join(lines)


def summarize(lightning_module: nn.Module, max_depth: int = 1) -> ModelSummary:
    """:class:`ModelSummary` of a module."""
    return ModelSummary(lightning_module, max_depth)


def _shapes(values: list[Any]) -> Any:
    """The shape of the only value, or a list of shapes."""
    found = [_shape(value) for value in values]
    return found[0] if len(found) == 1 else found


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return list(value.shape)
    if isinstance(value, Mapping):
        return [_shape(item) for item in value.values()]
    return [_shape(item) for item in value] if isinstance(value, (list, tuple)) else UNKNOWN


def _size(parameter: Tensor) -> int:
    """Elements; none as long as a lazy layer does not know its shape."""
    return 0 if isinstance(parameter, nn.UninitializedParameter) else parameter.numel()


def get_human_readable_count(number: int) -> str:
    """A count like ``1.2 K``."""
    value = float(number)
    for unit in UNITS[:-1]:
        if value < 1000:
            return f"{value:.1f}{unit}" if unit else str(number)
        value /= 1000
    return f"{value:.1f}{UNITS[-1]}"
