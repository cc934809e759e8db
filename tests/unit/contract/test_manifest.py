"""The checkpoint directory's names and the manifest's rules."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from leyden_contract.layout import MANIFEST_NAME, complete_steps, digest_of, parse_step, step_directory
from leyden_contract.manifest import Manifest

MINIMAL = {"step": 3, "epoch": 0, "module": "digits:LitDigits", "files": {}, "torch_version": "2.15.0"}


@given(st.integers(min_value=0, max_value=10**12 - 1))
def test_a_step_survives_its_directory_name(step: int) -> None:
    assert parse_step(step_directory(step)) == step


def test_directory_names_sort_as_their_steps() -> None:
    assert sorted(map(step_directory, [1200, 7, 99])) == [step_directory(7), step_directory(99), step_directory(1200)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("step-12", id="too-short"),
        pytest.param(".tmp-step-000000000012", id="unfinished"),
        pytest.param("step-00000000001x", id="not-a-number"),
    ],
)
def test_other_names_are_no_steps(name: str) -> None:
    assert parse_step(name) is None


def test_only_directories_with_a_manifest_are_checkpoints(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / step_directory(step)).mkdir()
    for step in (1, 3):
        (tmp_path / step_directory(step) / MANIFEST_NAME).write_text("{}")
    assert complete_steps(tmp_path) == [3, 1]
    assert complete_steps(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "change, field",
    [
        pytest.param({"step": -1}, "step", id="negative-step"),
        pytest.param({"format_version": 2}, "format_version", id="a-later-format"),
        pytest.param({"colour": "blue"}, "colour", id="unknown-field"),
        pytest.param({"files": {"weights.pt": {"sha256": "xyz", "size": 1}}}, "sha256", id="no-digest"),
    ],
)
def test_a_wrong_manifest_is_refused_by_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Manifest.model_validate({**MINIMAL, **change})
    assert field in str(refused.value)


def test_the_digest_covers_every_byte() -> None:
    assert digest_of(b"{}") != digest_of(b"{ }")
    assert digest_of(b"").startswith("sha256:e3b0c442")


def test_an_export_is_one_of_the_files() -> None:
    with pytest.raises(ValidationError, match=r"exports: model\.pt2 is not among the files"):
        Manifest.model_validate({**MINIMAL, "exports": {"exported": "model.pt2"}})
    with pytest.raises(ValidationError, match="exported"):
        Manifest.model_validate({**MINIMAL, "exports": {"tensorrt": "model.plan"}})
