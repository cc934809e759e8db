"""The server keeps what its OpenAPI document promises, whatever is sent."""

import numpy as np
import pytest
import schemathesis
from hypothesis import given, settings

from leyden_contract.manifest import Signature, TensorSpec
from leyden_server.schema import request_model
from server.conftest import Running

pytestmark = pytest.mark.xdist_group("server")  # one process trains the model for all


@pytest.mark.parametrize(
    "path, mode",
    [
        ("/predict", schemathesis.GenerationMode.POSITIVE),
        ("/predict", schemathesis.GenerationMode.NEGATIVE),
        ("/healthz", schemathesis.GenerationMode.POSITIVE),
        ("/readyz", schemathesis.GenerationMode.POSITIVE),
    ],
)
def test_every_answer_is_one_of_those_described(server: Running, path: str, mode: schemathesis.GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operation = next(found.ok() for found in described.get_all_operations() if found.ok().path == path)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=40, deadline=None)
    def keeps_its_word(case: schemathesis.Case) -> None:
        case.call_and_validate()

    keeps_its_word()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_number_is_allowed_that_its_type_can_hold_once_rounded(dtype: str) -> None:
    model = request_model(Signature(inputs=[TensorSpec(name="x", dtype=dtype, shape=[None])], outputs=[]))
    limit = model.model_json_schema()["properties"]["inputs"]["items"]["exclusiveMaximum"]
    with np.errstate(over="ignore"):
        kept = [bool(np.isfinite(np.dtype(dtype).type(value))) for value in (np.nextafter(limit, 0), limit)]
    assert kept == [True, False]
