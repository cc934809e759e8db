"""One cluster for all end-to-end tests: the quickstart's own, brought up by the quickstart's own steps."""

import fcntl
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.kube import Cluster
from leyden_quickstart import cluster as steps
from leyden_quickstart.console import Console


@pytest.fixture(scope="session", autouse=True)
def tools_on_path() -> None:
    """The quickstart calls its tools as modules of a bare Python."""
    os.environ["PYTHONPATH"] = str(steps.ROOT / "cluster")


@pytest.fixture(scope="session")
def installed(tools_on_path: None, testrun_uid: str) -> Cluster:
    """A cluster with the images loaded and the operator installed. It is left running, as the quickstart leaves it."""
    ground = steps.ground_here()
    console = Console(4, sys.stderr)
    with one_process_at_a_time():
        for title, step in (
            ("Build", steps.build),
            ("Start the cluster", steps.start_cluster),
            ("Load the images", steps.load_images),
            ("Install the operator", steps.install_operator),
        ):
            console.begin(title)
            console.done(step(ground, console))
        found = Cluster(ground.kubectl)
        found.sweep(testrun_uid)
    return found


@contextmanager
def one_process_at_a_time() -> Iterator[None]:
    """pytest-xdist's workers each have a session of their own; what they share is made by one after the other."""
    steps.LOGS.mkdir(parents=True, exist_ok=True)
    with (steps.LOGS / "end-to-end.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def cluster(installed: Cluster, request: pytest.FixtureRequest, testrun_uid: str) -> Iterator[Cluster]:
    """A namespace of the test's own in the running cluster, of a name that no run before this one has used."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[5:45].strip("-")
    with installed.namespace(f"e2e-{name}-{secrets.token_hex(3)}", testrun_uid) as inside:
        yield inside
