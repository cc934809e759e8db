from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field, create_model

from leyden_operator.api import TrainingJobSpec
from leyden_operator.crdgen.__main__ import generated, stale
from leyden_operator.crdgen.schema import Unsupported, structural

ROOT = Path(__file__).parents[3]


class Inner(BaseModel):
    text: Annotated[str, Field(max_length=3)] | None = None


def model(kind: Any) -> type[BaseModel]:
    return create_model("Thing", field=(kind, ...))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param(str, "Thing.field: string without maxLength", id="unbounded-string"),
        pytest.param(tuple[int, ...], "Thing.field: array without maxItems", id="unbounded-list"),
        pytest.param(dict[str, int], "Thing.field: map without maxProperties", id="unbounded-map"),
        pytest.param(
            Annotated[list[str], Field(max_length=2)], "Thing.field[]: string without maxLength", id="unbounded-item"
        ),
        pytest.param(int | bool, "Thing.field: a union has no counterpart in a CRD", id="union"),
        pytest.param(dict[str, Any], "Thing.field: object of any shape", id="any-object"),
        pytest.param(Any, "Thing.field: a type is needed", id="anything"),
        pytest.param(Annotated[int, Field(gt=0)], "Thing.field: exclusiveMinimum has no counterpart", id="exclusive"),
    ],
)
def test_what_a_crd_cannot_hold_is_refused_with_the_path(kind: Any, message: str) -> None:
    with pytest.raises(Unsupported) as refusal:
        structural(model(kind))
    assert str(refusal.value).startswith(message)


def test_references_are_inlined_and_optional_is_not_nullable() -> None:
    assert structural(model(Inner))["properties"]["field"] == {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 3}},
    }


def test_regeneration_changes_nothing() -> None:
    assert stale(ROOT) == []


def test_stale_and_left_over_files_are_named(tmp_path: Path) -> None:
    for path, text in generated().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert stale(tmp_path) == []
    (tmp_path / "crds/old.yaml").write_text("")
    (tmp_path / "docs/reference/trainingjob.md").write_text("edited")
    assert [path.name for path in stale(tmp_path)] == ["old.yaml", "trainingjob.md"]


@pytest.mark.parametrize("name", ["trainingjobs", "inferenceservices"])
def test_crd_stays_small_enough_for_client_side_apply(name: str) -> None:
    text = (ROOT / f"crds/leyden.dev_{name}.yaml").read_text()
    assert len(text) < 100_000
    assert yaml.safe_load(text)["spec"]["names"]["categories"] == ["leyden"]


@pytest.mark.parametrize("name", ["digits"])
def test_examples_are_valid(name: str) -> None:
    spec = yaml.safe_load((ROOT / f"examples/{name}/trainingjob.yaml").read_text())["spec"]
    assert TrainingJobSpec.model_validate(spec).nodes.max == 3
