"""The agent's heartbeat: a thread that tells the coordinator how the ranks are and learns what it wants."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from leyden.agent.client import Client, Refused, Unreachable
from leyden.agent.ranks import Ranks
from leyden_contract.wire import HEARTBEAT_SECONDS, Event, Events, Heartbeat, Notice

log = logging.getLogger(__name__)


class Tail:
    """Reads the lines that were added to a rank's ``events.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def newest(self) -> dict[str, Any]:
        """The newest of each field of :class:`Event` since the last call. An unfinished line stays for the next."""
        if not self.path.exists():
            return {}
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        found: dict[str, Any] = {}
        for line in complete.splitlines():
            try:
                event = Event.model_validate_json(line)
            except ValidationError as error:
                log.warning("%s: a line is no event: %s", self.path, error.errors()[0]["msg"])
                continue
            found.update((name, value) for name, value in event if value is not None)
        return found


class Heart:
    """Beats once a second while its ``with`` block runs. Only answers change anything; silence never does."""

    def __init__(self, client: Client, ranks: Ranks) -> None:
        self._client = client
        self._ranks = ranks
        self._uid = ranks.settings.request.pod_uid
        self._round = ranks.assignment.round
        self._tail = Tail(ranks.directory(0) / "events.jsonl")
        self._unsent: dict[str, Any] = {}
        self._served: tuple[str, ...] | None = None
        self._poke = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._beat, name="heart")
        self.notice = Notice.NONE
        self.leaving = False
        self.silent_beats = 0
        """Heartbeats since the coordinator last answered."""

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over = True
        self._poke.set()
        self._thread.join()
        self._tell(self._forward)

    def leave(self) -> None:
        """Say at once that this pod was told to end."""
        self.leaving = True
        self.poke()

    def poke(self) -> None:
        """Beat now."""
        self._poke.set()

    def _beat(self) -> None:
        while not self._over:
            self._poke.clear()
            self._tell(self._heartbeat)
            self._tell(self._forward)
            self._poke.wait(HEARTBEAT_SECONDS)

    def _heartbeat(self) -> None:
        beat = Heartbeat(pod_uid=self._uid, round=self._round, steps=self._ranks.steps(), leaving=self.leaving)
        self.silent_beats += 1
        reply = self._client.heartbeat(beat)
        self.notice = reply.notice
        self.silent_beats = 0
        if reply.served is not None and reply.served != self._served:
            self._ranks.tell_served(reply.served)
            self._served = reply.served

    def _forward(self) -> None:
        self._unsent.update(self._tail.newest())
        if self._unsent:
            self._client.events(Events(pod_uid=self._uid, round=self._round, **self._unsent))
            self._unsent.clear()

    def _tell(self, say: Callable[[], None]) -> None:
        try:
            say()
        except Unreachable as error:
            if self.silent_beats in (1, 30):
                log.warning("the coordinator does not answer (%s); training goes on", error)
        except Refused as error:
            log.error("the coordinator refuses: %s", error)
        except OSError as error:
            log.error("the directory that is shared with the ranks cannot be read or written: %s", error)
