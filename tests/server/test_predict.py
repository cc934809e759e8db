"""What clients may send and what they hear."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from leyden_contract.layout import complete_steps, digest_of, step_directory
from server.conftest import Running

pytestmark = pytest.mark.xdist_group("server")  # one process trains the model for all

IMAGE = [[[0.0] * 8 for _ in range(8)]]


def with_pixel(value: Any) -> list[Any]:
    image = json.loads(json.dumps(IMAGE))
    image[0][2][5] = value
    return [image]


def test_an_answer_names_step_and_digest(server: Running, checkpoints: Path) -> None:
    answer = server.predict(json={"inputs": [IMAGE, IMAGE]})
    newest = complete_steps(checkpoints)[0]
    digest = digest_of((checkpoints / step_directory(newest) / "manifest.json").read_bytes())
    assert answer.status_code == 200
    body = answer.json()
    assert [len(row) for row in body["outputs"]] == [10, 10] and body["outputs"][0] == body["outputs"][1]
    assert (body["step"], body["digest"]) == (newest, digest)
    assert (answer.headers["x-leyden-step"], answer.headers["x-leyden-digest"]) == (str(newest), digest)


@pytest.mark.parametrize(
    "inputs, path, said",
    [
        pytest.param([], ["inputs"], "at least one instance", id="empty-batch"),
        pytest.param(3, ["inputs"], "nested lists of shape (batch, 1, 8, 8)", id="a-number"),
        pytest.param(None, ["inputs"], "not null", id="null"),
        pytest.param("abc", ["inputs"], "not a string", id="a-string"),
        pytest.param(IMAGE, ["inputs"], "expected shape (batch, 1, 8, 8), got (1, 8, 8)", id="no-batch"),
        pytest.param([[[[0.0] * 7] * 8]], ["inputs"], "got (1, 1, 8, 7)", id="too-narrow"),
        pytest.param([[[[0.0] * 8] * 7 + [[0.0] * 3]]], ["inputs", 0, 0, 7], "3 elements", id="ragged"),
        pytest.param(with_pixel("7"), ["inputs", 0, 0, 2, 5], "not a string", id="a-string-in-a-pixel"),
        pytest.param(with_pixel(None), ["inputs", 0, 0, 2, 5], "not null", id="null-in-a-pixel"),
        pytest.param(with_pixel({}), ["inputs", 0, 0, 2, 5], "not an object", id="an-object-in-a-pixel"),
        pytest.param(with_pixel(1e39), ["inputs", 0, 0, 2, 5], "not a finite float32", id="too-large-for-float32"),
    ],
)
def test_a_wrong_input_is_named_by_its_path(server: Running, inputs: Any, path: list[Any], said: str) -> None:
    answer = server.predict(json={"inputs": inputs})
    assert answer.status_code == 422
    problem = answer.json()["detail"][0]
    assert problem["loc"] == ["body", *path] and said in problem["msg"], problem


@pytest.mark.parametrize(
    "content, kind, status, said",
    [
        pytest.param(b"{", "application/json", 422, "not valid JSON", id="malformed"),
        pytest.param(b"", "application/json", 422, "not valid JSON", id="no-body"),
        pytest.param(b"[1]", "application/json", 422, "must be an object", id="not-an-object"),
        pytest.param(b"{}", "application/json", 422, "is missing", id="no-inputs"),
        pytest.param(b'{"inputs": [], "a": 1}', "application/json", 422, "is not allowed", id="unknown-field"),
        pytest.param(b'{"inputs": NaN}', "application/json", 422, "not valid JSON", id="nan"),
        pytest.param(b"\xff\xfe", "application/json", 422, "not valid JSON", id="not-text"),
        pytest.param(b"{}", "text/plain", 415, "must be application/json", id="not-json"),
        pytest.param(b" " * 1_000_001, "application/json", 413, "1000000 bytes", id="huge"),
    ],
)
def test_a_wrong_body_is_refused(server: Running, content: bytes, kind: str, status: int, said: str) -> None:
    answer = server.predict(content=content, headers={"content-type": kind})
    assert answer.status_code == status and said in answer.text, answer.text


def test_a_huge_body_without_a_length_is_refused_while_it_comes(server: Running) -> None:
    chunks = (b" " * 100_000 for _ in range(1000))
    try:
        answer = server.predict(content=chunks, headers={"content-type": "application/json"})
    except httpx.TransportError:
        return  # the server has answered and closed before everything was sent
    assert answer.status_code == 413


def test_the_schema_tells_shapes_and_the_docs_are_there(server: Running) -> None:
    schema = httpx.get(f"{server.url}/openapi.json").json()
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    lengths, inputs = [], body["properties"]["inputs"]
    while inputs["type"] == "array":
        lengths.append((inputs.get("minItems"), inputs.get("maxItems")))
        inputs = inputs["items"]
    assert lengths == [(1, None), (1, 1), (8, 8), (8, 8)] and inputs["type"] == "number"
    assert httpx.get(f"{server.url}/docs").status_code == 200


def test_metrics_count_answers_by_code(server: Running) -> None:
    server.predict(json={"inputs": [IMAGE]})
    server.predict(content=b"{", headers={"content-type": "application/json"})
    text = httpx.get(f"{server.url}/metrics").text
    counts = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}
    assert counts['leyden_server_requests_total{code="200"}'] >= 1
    assert counts['leyden_server_requests_total{code="422"}'] >= 1
    assert counts["leyden_server_model_step"] > 0
