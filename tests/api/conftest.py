"""A real kube-apiserver, and the real operator as a process beside it. There is no kubelet: tests play its part."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from leyden_cluster.apiserver import ApiServer, free_ports, start_apiserver

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Api:
    """The API server as its administrator, in one namespace."""

    server: ApiServer
    namespace: str = "default"

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        command = [self.server.kubectl, f"--kubeconfig={self.server.kubeconfig}", f"--namespace={self.namespace}"]
        ran = subprocess.run([*command, *arguments], input=stdin, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def apply(self, *objects: Object) -> None:
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, kind: str, name: str) -> Object:
        text = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        found: Object = json.loads(text) if text.strip() else {}
        return found

    def list(self, kinds: str, selector: str = "") -> list[Object]:
        labels = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.run("get", kinds, *labels, "-o", "json"))["items"]
        return items

    def patch_status(self, kind: str, name: str, status: Object) -> None:
        self.run("patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def wait(self, what: str, satisfied: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        """The first true value; what there is is in the error where none comes in time."""
        deadline = time.monotonic() + seconds
        while not (found := satisfied()):
            if time.monotonic() > deadline:
                seen = self.run("get", "trainingjobs,inferenceservices,pods", "-o", "yaml")
                raise AssertionError(f"{what} was not seen in {seconds} s:\n{seen}")
            time.sleep(0.2)
        return found


def condition(thing: Object, kind: str) -> Object:
    found = thing.get("status", {}).get("conditions", ())
    return next((dict(each) for each in found if each["type"] == kind), {})


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """etcd, kube-apiserver and kube-controller-manager with our CRDs."""
    server = start_apiserver(tmp_path_factory.mktemp("apiserver"), controllers=True)
    try:
        api = Api(server)
        api.run("apply", "--server-side", "-f", str(ROOT / "crds"))
        api.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield server
    finally:
        server.stop()


@pytest.fixture
def api(installed: ApiServer, request: pytest.FixtureRequest) -> Iterator[Api]:
    """A namespace of the test's own."""
    name = "t-" + "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower())[:50].strip("-")
    found = Api(installed, name)
    found.run("create", "namespace", name)
    # Pods are refused until the namespace has its service account.
    found.run("wait", "--for=create", "--timeout=30s", "serviceaccount/default")
    yield found
    found.run("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class Operator:
    """A running operator."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def calls(self) -> set[tuple[str, str, str]]:
        """Verb, group and resource of each request that it made."""
        found = set()
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith("leyden_api_requests_total{"):
                labels = dict(part.split("=", 1) for part in line.split("{")[1].split("}")[0].split(","))
                found.add((labels["verb"].strip('"'), labels["group"].strip('"'), labels["resource"].strip('"')))
        return found


@contextmanager
def running_operator(server: ApiServer, log: Path) -> Iterator[Operator]:
    """``python -m leyden_operator`` once it is ready, and ended at the end."""
    port = free_ports(1)[0]
    path = os.pathsep.join(str(ROOT / package) for package in ("contract", "operator"))
    env = {**os.environ, "PYTHONPATH": path, "KUBECONFIG": str(server.kubeconfig), "LEYDEN_HEALTH_PORT": str(port)}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "leyden_operator"], env=env, stdout=output, stderr=subprocess.STDOUT
        )
    operator = Operator(process, f"http://127.0.0.1:{port}", log)
    try:
        _await_ready(operator)
        yield operator
    finally:
        process.terminate()
        code = process.wait(timeout=20)
    assert code in (0, -signal.SIGKILL), f"the operator ended with {code}:\n{log.read_text()[-3000:]}"


def _await_ready(operator: Operator) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and operator.process.poll() is None:
        try:
            if httpx.get(f"{operator.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the operator did not get ready:\n{operator.log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def operator(installed: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One operator for all tests that do not end it."""
    with running_operator(installed, tmp_path_factory.mktemp("operator") / "log") as found:
        yield found
