"""Exports: what the file answers, and what is left of the module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parity.models import Trained, loader
from parity.recording import Seen, different, program

INPUTS = torch.linspace(-1, 1, 12).reshape(3, 4)


class Exported(Trained):
    """Trained for an epoch; without dropout, which Lightning leaves on in what it exports to ONNX."""

    dropout = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(3, 4)


def trained(seen: Seen) -> Any:
    module = Exported()
    seen.modules.append(module)
    seen.trainer(max_epochs=1).fit(module, loader())
    return module


def note(seen: Seen, module: Any, answers: Any) -> None:
    seen.values["answers"] = answers
    seen.values["training"] = module.training
    seen.values["files"] = sorted(path.name for path in seen.folder.glob("*.*"))


def answers_of(file: Any, inputs: Tensor = INPUTS) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    return session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0].tolist()


@program
def to_torchscript(seen: Seen) -> None:
    module = trained(seen)
    module.to_torchscript(seen.folder / "script.pt")
    note(seen, module, torch.jit.load(seen.folder / "script.pt")(INPUTS))


@program
def to_torchscript_by_tracing(seen: Seen) -> None:
    module = trained(seen)
    note(seen, module, module.to_torchscript(method="trace")(INPUTS))


@program
def to_torchscript_before_any_training(seen: Seen) -> None:
    module = Exported()
    note(seen, module, module.to_torchscript(example_inputs=INPUTS)(INPUTS))


@program
def to_torchscript_by_an_unknown_method(seen: Seen) -> None:
    Exported().to_torchscript(method="compile")


@program
def to_onnx(seen: Seen) -> None:
    module = trained(seen)
    module.to_onnx(seen.folder / "model.onnx", INPUTS, external_data=False)
    note(seen, module, answers_of(seen.folder / "model.onnx"))


@program
def to_onnx_with_names(seen: Seen) -> None:
    module = trained(seen)
    module.to_onnx(seen.folder / "model.onnx", input_names=["x"], output_names=["y"], external_data=False)
    note(seen, module, answers_of(seen.folder / "model.onnx"))


@program
def to_onnx_without_an_example(seen: Seen) -> None:
    module = Trained()
    module.to_onnx(seen.folder / "model.onnx")


@different("the example is what forward takes, so it does not go through the hooks of a batch")
def hooks_of_an_export(seen: Seen) -> None:
    module = seen.watched(trained(seen))
    note(seen, module, module.to_torchscript(method="trace")(INPUTS))


@different("the batch size is free without asking; Lightning's file answers only for the example's")
def to_onnx_and_another_batch_size(seen: Seen) -> None:
    module = trained(seen)
    module.to_onnx(seen.folder / "model.onnx", external_data=False)
    try:
        answers = answers_of(seen.folder / "model.onnx", INPUTS[:2])
    except Exception as error:  # noqa: BLE001  what happens is what is compared
        answers = type(error).__name__
    note(seen, module, answers)


@different("weights are in the file itself, up to two gigabytes; Lightning's stand in a second file")
def to_onnx_as_one_file(seen: Seen) -> None:
    module = trained(seen)
    module.to_onnx(seen.folder / "model.onnx")
    note(seen, module, answers_of(seen.folder / "model.onnx"))
