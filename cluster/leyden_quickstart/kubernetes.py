"""kubectl and helm as the quickstart uses them, bound to one cluster and one namespace."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_quickstart.console import StepFailed
from leyden_quickstart.processes import capture

FORWARD_SECONDS = 20.0


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl. Failures raise :class:`StepFailed` with kubectl's own last line."""

    binary: str
    kubeconfig: Path
    namespace: str

    def command(self, *arguments: str) -> list[str]:
        return [self.binary, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]

    def shown(self, *arguments: str) -> str:
        """The command as a person would type it."""
        return f"KUBECONFIG={self.kubeconfig} kubectl -n {self.namespace} {' '.join(arguments)}"

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        return capture(self.command(*arguments), stdin=stdin)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object; empty where it does not exist."""
        text = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        found: dict[str, Any] = json.loads(text) if text.strip() else {}
        return found

    def apply(self, *manifests: dict[str, Any]) -> str:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        return self.run("apply", "-f", "-", stdin=json.dumps(listed))

    @contextmanager
    def forward(self, resource: str, port: int) -> Iterator[str]:
        """A local URL that leads to a port of a Service or Pod while the context lasts."""
        local = free_port()
        process = subprocess.Popen(
            self.command("port-forward", resource, f"{local}:{port}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _wait_for_port(local, process)
            yield f"http://127.0.0.1:{local}"
        finally:
            process.terminate()
            process.communicate()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + FORWARD_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
            raise StepFailed(f"kubectl port-forward ended: {said}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise StepFailed(f"kubectl port-forward did not open port {port} in {FORWARD_SECONDS:.0f} s")


def condition(thing: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a resource by its type; empty where it is not set."""
    for found in thing.get("status", {}).get("conditions", []):
        if found["type"] == kind:
            return dict(found)
    return {}


def is_true(thing: dict[str, Any], kind: str) -> bool:
    return condition(thing, kind).get("status") == "True"
