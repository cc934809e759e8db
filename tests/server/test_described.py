"""The server keeps what its OpenAPI document promises, whatever is sent."""

import pytest
import schemathesis
from hypothesis import given, settings

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
