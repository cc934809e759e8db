"""An etcd and a kube-apiserver for the tests that need them, started once."""

from collections.abc import Iterator

import pytest

from leyden_cluster.apiserver import ApiServer, start_apiserver


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """With controllers: accounts, garbage collection and aggregated roles are their work."""
    server = start_apiserver(tmp_path_factory.mktemp("apiserver"), controllers=True)
    yield server
    server.stop()
