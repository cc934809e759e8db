"""Exports: each answers as the module does, on batches of any size, and leaves the module as it was."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leyden as L
from engine.programs import SAVING, Regression, loader, same, weights
from leyden.callbacks import CheckpointDirectory
from leyden.checkpoint import store
from leyden.checkpoint.signature import trace
from leyden.errors import CheckpointCorrupt, ExportFailed, MisconfigurationError
from leyden.export import Exporter
from leyden.export.formats import FORMATS, leaves

METHODS = {"exported": "to_exported", "onnx": "to_onnx", "torchscript": "to_torchscript"}


class Pair(L.LightningModule):
    """Two inputs, two named outputs, dropout and batch norm; the example has its arguments in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = {"right": torch.rand(3, 4), "left": torch.randn(3, 4)}
        self.linear, self.norm, self.dropout = nn.Linear(4, 2), nn.BatchNorm1d(4), nn.Dropout()

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"scores": self.dropout(self.linear(left - 2 * right)), "mean": self.norm(right).mean(1)}


class Parts(L.LightningModule):
    """A tuple of outputs of several types."""

    example_input_array = torch.randn(5, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.exp(), inputs.argmax(dim=1)


class FixedBatch(L.LightningModule):
    example_input_array = torch.randn(3, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.view(3, 4)


class Noisy(FixedBatch):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.rand(1)


class Branching(FixedBatch):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if inputs.sum() > 0 else torch.as_tensor(json.loads("[1.0]"))


def read(kind: str, data: bytes) -> Any:
    return FORMATS[kind].read(io.BytesIO(data))


def written(module: L.LightningModule, kind: str, folder: Path) -> tuple[Path, list[Tensor]]:
    """The file of an export, and what it was made with, by position."""
    sample = module.example_input_array if module.example_input_array is not None else torch.randn(2, 4)
    file = folder / FORMATS[kind].file
    getattr(module, METHODS[kind])(file, **{"example_inputs" if kind == "torchscript" else "input_sample": sample})
    return file, list(dict(sorted(sample.items())).values()) if isinstance(sample, dict) else [sample]


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("module", [Regression(dropout=0.5), Pair(), Parts()], ids=lambda module: type(module).__name__)
def test_a_file_answers_as_the_module_whatever_the_batch(kind: str, module: L.LightningModule, tmp_path: Path) -> None:
    file, inputs = written(module, kind, tmp_path)
    forward = FORMATS[kind].read(file)
    module.eval()
    for count in (1, 2, 7, 30):
        batch = [tensor[torch.arange(count) % len(tensor)] * 1.5 for tensor in inputs]
        for mine, wanted in zip(leaves(forward(*batch)), leaves(module(*batch)), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", METHODS)
def test_nothing_about_the_module_or_the_generators_changes(kind: str) -> None:
    module = Pair()
    module.norm.eval()
    before, draws = weights(module), (torch.get_rng_state(), random.getstate())
    getattr(module, METHODS[kind])()
    assert same(before, weights(module)) and module.training and module.dropout.training and not module.norm.training
    assert torch.equal(draws[0], torch.get_rng_state()) and draws[1] == random.getstate()


@pytest.mark.parametrize(
    ("module", "kind", "said"),
    [
        pytest.param(FixedBatch(), "exported", "forward fails on a batch of 1: RuntimeError: shape", id="fixed-batch"),
        pytest.param(Noisy(), "exported", "differs on a batch of 1: the answer is off by 0.", id="random"),
        pytest.param(Noisy(), "onnx", "differs on a batch of 1: the answer is off by 0.", id="random-onnx"),
        pytest.param(Branching(), "exported", "Could not guard on data-dependent expression", id="data-dependent"),
        pytest.param(Branching(), "onnx", "Could not guard on data-dependent expression", id="data-dependent-onnx"),
        pytest.param(Branching(), "torchscript", "NotSupportedError", id="code-that-torchscript-does-not-know"),
        pytest.param(FixedBatch(), "onnx", "forward fails on a batch of 1", id="fixed-batch-onnx"),
        pytest.param(Regression(), "exported", "what forward takes is not known", id="no-example"),
        pytest.param(Regression(), "onnx", "what forward takes is not known", id="no-example-onnx"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(module: L.LightningModule, kind: str, said: str) -> None:
    with pytest.raises(ExportFailed) as refused:
        getattr(module, METHODS[kind])()
    message = str(refused.value)
    assert message.startswith(f"{type(module).__name__} cannot be exported ({kind}): ") and said in message
    assert "\n" not in message and module.training


def test_a_script_needs_no_example_and_an_unknown_method_is_named() -> None:
    scripted = Regression().to_torchscript()
    assert scripted(torch.zeros(3, 4)).shape == (3, 1)
    with pytest.raises(MisconfigurationError, match="method='onnx' is not allowed"):
        Regression().to_torchscript(method="onnx")


def test_the_exporter_of_old_is_refused() -> None:
    with pytest.raises(ExportFailed, match="dynamo=False is not allowed"):
        Parts().to_onnx(dynamo=False)


def test_what_torch_takes_goes_to_torch(tmp_path: Path) -> None:
    file = io.BytesIO()
    Regression().to_onnx(file, torch.zeros(2, 4), input_names=["x"], output_names=["y"], opset_version=18)
    import onnx

    model = onnx.load_from_string(file.getvalue())
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["x", "y"]
    assert model.opset_import[0].version == 18 and model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_an_exported_file_with_something_pickled_is_not_read(tmp_path: Path) -> None:
    """torch.export.load would unpickle it."""
    import zipfile

    good, bad = tmp_path / "good.pt2", tmp_path / "bad.pt2"
    Parts().to_exported(good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        target.writestr("archive/data/constants/opaque_obj_0", b"cos\nsystem\n(S'exit 3'\ntR.")
    with pytest.raises(CheckpointCorrupt, match="opaque_obj_0 is pickled"):
        FORMATS["exported"].read(bad)


# Exports beside a run's checkpoints.


def fit(module: L.LightningModule, directory: Path, epochs: int = 2, export: tuple[str, ...] = tuple(METHODS)) -> None:
    keep = CheckpointDirectory(directory, keep_last=9, export=export)
    L.Trainer(**SAVING, max_epochs=epochs, callbacks=[keep]).fit(module, loader())


@pytest.mark.slow
def test_every_checkpoint_of_a_run_has_the_exports_of_its_own_weights(tmp_path: Path) -> None:
    fit(Regression(), tmp_path, epochs=3)
    inputs, answers = torch.randn(7, 4), set()
    for stored in store.complete(tmp_path):
        store.verify(stored)
        assert set(stored.manifest.exports) == set(METHODS)
        module = Regression.load_from_checkpoint(stored.path).eval()
        for kind, name in stored.manifest.exports.items():
            given = leaves(FORMATS[kind].read(stored.path / name)(inputs))[0]
            torch.testing.assert_close(given, module(inputs), rtol=1e-4, atol=1e-5)
        answers.add(given[0].item())
    assert len(answers) == 3, "the weights of three epochs differ"


class Drifting(Regression):
    """A number that is no weight changes from epoch to epoch."""

    factor = 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * super().forward(inputs)

    def on_train_epoch_start(self) -> None:
        self.factor = 1.0 + self.current_epoch


def test_what_is_baked_into_a_program_is_baked_in_anew(tmp_path: Path) -> None:
    fit(Drifting(), tmp_path, epochs=2, export=("exported",))
    inputs = torch.randn(7, 4)
    for stored in store.complete(tmp_path):
        module = Drifting.load_from_checkpoint(stored.path).eval()
        module.factor = 1.0 + stored.manifest.epoch
        given = FORMATS["exported"].read(stored.path / "model.pt2")(inputs)
        torch.testing.assert_close(given, module(inputs), rtol=1e-4, atol=1e-5)


class Unscriptable(Regression):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + len(json.dumps({}))


def test_a_failing_export_costs_one_warning_and_no_checkpoint(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    fit(Unscriptable(), tmp_path, epochs=3, export=("torchscript",))
    said = [str(each.message) for each in recwarn if "export" in str(each.message)]
    assert len(said) == 1 and said[0].startswith("checkpoints are committed without their torchscript export: ")
    assert [stored.manifest.exports for stored in store.complete(tmp_path)] == [{}, {}, {}]


def test_a_process_that_must_leave_commits_without_making_a_program_first() -> None:
    exporter, module = Exporter(("torchscript",)), Parts()
    traced = trace(module, [])
    assert exporter.files(module, traced, pytest.fail, only_made=True) == {}
    assert exporter.files(module, traced, pytest.fail).keys() == {"torchscript"}
    assert exporter.files(module, traced, pytest.fail, only_made=True).keys() == {"torchscript"}


def test_an_unknown_format_is_named_before_the_first_step(tmp_path: Path) -> None:
    module = Regression()
    with pytest.raises(MisconfigurationError, match=r"export.0.*'exported', 'onnx' or 'torchscript'"):
        fit(module, tmp_path, export=("tensorrt",))
    assert not module.seen
