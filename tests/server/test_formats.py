"""Every format gives the same answers, exports need no code, and what is loaded is chosen with care."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from leyden.checkpoint import store
from leyden_contract.manifest import ExportFormat, Manifest, ModelFormat, ServedFormat
from leyden_server.errors import BadCheckpoint, CannotServe
from leyden_server.loading import Loaded, choose_format, load
from leyden_server.model import Model
from leyden_server.settings import from_environment
from server.conftest import PACKAGES, ROOT, running

pytestmark = pytest.mark.xdist_group("server")  # one process trains the model for all

IMAGES = [[each["image"]] for each in json.loads((ROOT / "examples" / "digits" / "held-out.json").read_text())]
WITHOUT_CODE = tuple(package for package in PACKAGES if not package.startswith("examples"))
ALL: dict[ExportFormat, str] = {"torchscript": "t", "onnx": "o", "exported": "e"}


def asked(path: Path, format: str, packages: tuple[str, ...]) -> tuple[Any, Any, dict[str, Any]]:
    """The answer, the headers of ours and the schema of a server of this format."""
    with running(path, "--format", format, packages=packages) as server:
        answer = server.predict(json={"inputs": IMAGES})
        schema = httpx.get(f"{server.url}/openapi.json").json()
        assert answer.status_code == 200, answer.text
        headers = {name: value for name, value in answer.headers.items() if name.startswith("x-leyden")}
        return answer.json(), headers, {key: schema[key] for key in ("paths", "components")}


@pytest.mark.slow
def test_every_format_answers_alike_and_exports_do_so_without_the_code(exported: Path) -> None:
    wanted, headers, schema = asked(exported, "checkpoint", PACKAGES)
    for format in ALL:
        given, its_headers, its_schema = asked(exported, format, WITHOUT_CODE)
        assert (its_headers, its_schema) == (headers, schema), format
        assert given.keys() == wanted.keys() and given["digest"] == wanted["digest"]
        for mine, right in zip(given["outputs"], wanted["outputs"], strict=True):
            assert mine == pytest.approx(right, rel=1e-4, abs=1e-5), format


@pytest.mark.parametrize(
    ("format", "there", "trusted", "chosen"),
    [
        pytest.param("auto", {}, True, "checkpoint", id="nothing-exported"),
        pytest.param("auto", ALL, True, "exported", id="best-first"),
        pytest.param("auto", {"torchscript": "t"}, True, "torchscript", id="the-only-one"),
        pytest.param("auto", ALL, False, "onnx", id="of-unknown-origin-what-cannot-run-code"),
        pytest.param("auto", {"exported": "e", "torchscript": "t"}, False, "checkpoint", id="of-unknown-origin"),
        pytest.param("exported", ALL, False, "exported", id="named-by-hand"),
        pytest.param("checkpoint", ALL, True, "checkpoint", id="code-in-spite-of-exports"),
    ],
)
def test_what_is_loaded(
    format: ModelFormat, there: dict[ExportFormat, str], trusted: bool, chosen: ServedFormat
) -> None:
    assert choose_format(format, there, trusted) == chosen


TWO = torch.ones(2, 1), torch.zeros(2)


@pytest.mark.parametrize(
    ("answer", "outputs", "wanted"),
    [
        pytest.param(TWO[0], ["output"], [[1.0], [1.0]], id="a-tensor"),
        pytest.param([TWO[0]], ["output"], [[1.0], [1.0]], id="a-tensor-as-onnx-gives-it"),
        pytest.param({"b": TWO[1], "a": TWO[0]}, ["b", "a"], {"b": [0, 0], "a": [[1], [1]]}, id="a-dict"),
        pytest.param([TWO[1], TWO[0]], ["b", "a"], {"b": [0, 0], "a": [[1], [1]]}, id="a-dict-as-onnx-gives-it"),
        pytest.param(TWO, ["output_0", "output_1"], {"output_0": [[1], [1]], "output_1": [0, 0]}, id="a-tuple"),
    ],
)
def test_outputs_have_the_signatures_names_whatever_forward_gives(answer: Any, outputs: list[str], wanted: Any) -> None:
    spec = {"dtype": "float32", "shape": [None, 1]}
    signature = {"inputs": [{"name": "x", **spec}], "outputs": [{"name": name, **spec} for name in outputs]}
    facts = {"step": 1, "epoch": 0, "module": "m:M", "files": {}, "torch_version": torch.__version__}
    manifest = Manifest.model_validate({**facts, "signature": signature})
    model = Model(Loaded(lambda inputs: answer, manifest, "sha256:0", "onnx"))
    given = model.predict(model.parse({"inputs": [[1.0], [2.0]]}))
    plain = {name: array.tolist() for name, array in given.items()} if isinstance(given, dict) else given.tolist()
    assert plain == wanted


def refusal(path: Path, **env: str) -> CannotServe:
    with pytest.raises(CannotServe) as refused:
        load(from_environment(env, path))
    return refused.value


def test_a_format_that_is_not_there_is_one_sentence_with_those_that_are(exported: Path, checkpoints: Path) -> None:
    error = refusal(checkpoints, LEYDEN_MODEL_FORMAT="onnx")
    assert str(error) == "FormatNotFound: the checkpoint has no onnx export; its formats are: checkpoint"
    assert not isinstance(error, BadCheckpoint), "another format of it may be served"
    assert "format='pickle'" in str(refusal(exported, LEYDEN_MODEL_FORMAT="pickle"))


def test_an_export_is_verified_before_it_is_read(exported: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(exported, tmp_path / "copied"))
    stored = store.complete(copied)[0]
    file = stored.path / stored.manifest.exports["exported"]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    error = refusal(copied, LEYDEN_MODEL_FORMAT="exported")
    assert isinstance(error, BadCheckpoint) and "model.pt2 does not have the SHA-256" in str(error)
