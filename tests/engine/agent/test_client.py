"""How an agent speaks with its coordinator: over one connection, as long as that lasts."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from leyden.agent.client import Client, Unreachable
from leyden_contract.wire import Heartbeat, HeartbeatReply, Notice

BEAT = Heartbeat(pod_uid="uid", round=0, steps=(1,), leaving=False)


class Coordinator(BaseHTTPRequestHandler):
    """Answers heartbeats, and closes a connection without a word after as many as ``patience``."""

    protocol_version = "HTTP/1.1"
    patience = 1000

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = HeartbeatReply(round=0, notice=Notice.NONE).model_dump_json().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.patience -= 1
        self.close_connection = self.patience <= 0

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def coordinator() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("localhost", 0), Coordinator) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def client_of(server: ThreadingHTTPServer) -> Client:
    return Client(f"http://localhost:{server.server_port}", "token", threading.Event())


def test_without_dns_a_known_coordinator_is_heard(
    coordinator: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_dns(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    client = client_of(coordinator)
    client.heartbeat(BEAT)
    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    assert client.heartbeat(BEAT).notice is Notice.NONE
    with pytest.raises(Unreachable, match="Temporary failure in name resolution"):
        client_of(coordinator).heartbeat(BEAT)


def test_a_connection_that_was_closed_in_the_meantime_is_made_anew(
    coordinator: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Coordinator, "patience", 1)
    client = client_of(coordinator)
    assert [client.heartbeat(BEAT).notice for _ in range(3)] == [Notice.NONE] * 3


def test_nobody_there_is_said_with_the_address(coordinator: ThreadingHTTPServer) -> None:
    client = client_of(coordinator)
    client.heartbeat(BEAT)
    client._connection.close()
    coordinator.shutdown()
    coordinator.server_close()
    with pytest.raises(Unreachable, match=f"localhost:{coordinator.server_port}: .*refused"):
        client.heartbeat(BEAT)
