"""Where the quickstart's cluster comes from."""

from pathlib import Path

import pytest

from leyden_quickstart.target import Kind, choose


@pytest.mark.parametrize(
    "environ, docker, kind, want",
    [
        pytest.param({"KUBECONFIG": "/a"}, True, True, Kind.GIVEN, id="an-explicit-cluster-comes-first"),
        pytest.param({"KUBECONFIG": "/own"}, True, True, Kind.LOCAL, id="an-exported-one-of-ours-is-still-ours"),
        pytest.param({"KUBECONFIG": ""}, True, True, Kind.KIND, id="an-empty-variable-is-not-set"),
        pytest.param({}, True, True, Kind.KIND, id="docker-and-kind"),
        pytest.param({}, True, False, Kind.LOCAL, id="docker-without-kind"),
        pytest.param({}, False, True, Kind.LOCAL, id="kind-without-an-engine"),
    ],
)
def test_order_of_choice(environ: dict[str, str], docker: bool, kind: bool, want: Kind) -> None:
    assert choose(environ, docker, kind, {Path("/own"): Kind.LOCAL}).kind is want
