"""The coordinator as the agent sees it: JSON over HTTP with the standard library."""

import contextlib
import http.client
import logging
import threading
import time
from urllib.parse import urlsplit

from pydantic import BaseModel

from leyden_contract.wire import (
    JOIN_POLL_SECONDS,
    Events,
    Failure,
    Gone,
    Heartbeat,
    HeartbeatReply,
    JoinRequest,
    Leave,
    RoundAssignment,
)

TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
LAST_WORD_SECONDS = 3.0

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """No answer. The coordinator may be starting, so asking again is right."""


class Refused(Exception):
    """An answer that asking again cannot change: wrong token, bad message."""


class Client:
    """One connection that is kept: its name is looked up once, so that training survives a cluster without DNS."""

    def __init__(self, url: str, token: str, told_to_end: threading.Event) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._where = f"{parts.hostname}:{parts.port}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._told_to_end = told_to_end
        self._one_at_a_time = threading.Lock()

    def join(self, request: JoinRequest) -> RoundAssignment | Gone | None:
        """Ask for a place; ``None`` means to ask again."""
        status, body = self._post("/v1/join", request, JOIN_POLL_SECONDS + TIMEOUT_SECONDS)
        if status == 204:
            return None
        return Gone.model_validate_json(body) if status == 410 else RoundAssignment.model_validate_json(body)

    def heartbeat(self, beat: Heartbeat) -> HeartbeatReply:
        return HeartbeatReply.model_validate_json(self._post("/v1/heartbeat", beat)[1])

    def events(self, events: Events) -> None:
        self._post("/v1/events", events)

    def failure(self, failure: Failure) -> None:
        self._insist("/v1/failure", failure)

    def leave(self, message: Leave) -> None:
        self._insist("/v1/leave", message)

    def _insist(self, path: str, message: BaseModel) -> None:
        """Say something until it is heard, for a while: the coordinator's container may be restarting.

        Not for long where this pod was told to end: the coordinator may have gone for good, with the job.
        """
        began = time.monotonic()
        while True:
            try:
                self._post(path, message)
                return
            except Unreachable as error:
                patience = LAST_WORD_SECONDS if self._told_to_end.is_set() else PATIENCE_SECONDS
                if time.monotonic() - began > patience:
                    log.error("not heard by the coordinator: %s", error)
                    return
                time.sleep(RETRY_SECONDS)

    def _post(self, path: str, message: BaseModel, timeout: float = TIMEOUT_SECONDS) -> tuple[int, bytes]:
        status, body = self._answer(path, message.model_dump_json().encode(), timeout)
        if status >= 500:
            raise Unreachable(f"{self._where}: HTTP {status}")
        if status >= 400 and status != 410:
            raise Refused(f"{path}: HTTP {status}: {body.decode(errors='replace')[:500]}")
        return status, body

    def _answer(self, path: str, message: bytes, timeout: float) -> tuple[int, bytes]:
        with self._one_at_a_time:
            try:
                if self._connection.sock is not None:
                    # It may have been closed since the last answer. Then only a new one tells who is there.
                    with contextlib.suppress(ConnectionError):
                        return self._exchange(path, message, timeout)
                return self._exchange(path, message, timeout)
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self._where}: {error}") from error

    def _exchange(self, path: str, message: bytes, timeout: float) -> tuple[int, bytes]:
        connection = self._connection
        connection.timeout = timeout
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request("POST", path, message, self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
