"""One cluster for all end-to-end tests: the quickstart's own, brought up by the quickstart's own steps."""

import hashlib
import os
import re
import sys
from collections.abc import Iterator

import pytest

from e2e.kube import Cluster
from leyden_quickstart import cluster as steps
from leyden_quickstart.console import Console


@pytest.fixture(scope="session", autouse=True)
def tools_on_path() -> None:
    """The quickstart calls its tools as modules of a bare Python."""
    os.environ["PYTHONPATH"] = str(steps.ROOT / "cluster")


@pytest.fixture(scope="session")
def installed(tools_on_path: None) -> Cluster:
    """A cluster with the images loaded and the operator installed. It is left running, as the quickstart leaves it."""
    ground = steps.ground_here()
    console = Console(5, sys.stderr)
    for title, step in (
        ("Build", steps.build),
        ("Start the cluster", steps.start_cluster),
        ("Load the images", steps.load_images),
        ("Install the operator", steps.install_operator),
    ):
        console.begin(title)
        console.done(step(ground, console))
    return Cluster(ground.kubectl)


@pytest.fixture
def cluster(installed: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A namespace of the test's own in the running cluster."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[5:45].strip("-")
    told_apart = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:6]
    with installed.namespace(f"e2e-{name}-{told_apart}") as inside:
        yield inside
