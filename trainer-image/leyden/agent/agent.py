"""The agent's life: join, run the round's ranks, and join again until there is nothing more to do."""

import logging
import signal
import threading
import time

from leyden.agent.client import RETRY_SECONDS, Client, Unreachable
from leyden.agent.heart import Heart
from leyden.agent.ranks import Ranks, warm_up
from leyden.agent.round import Next, Round
from leyden.agent.settings import Settings
from leyden_contract import exit_codes
from leyden_contract.wire import Gone, Outcome, RoundAssignment

log = logging.getLogger(__name__)


class Agent:
    """Runs this pod's part of the job."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.told_to_end = threading.Event()
        self.client = Client(settings.coordinator, settings.token, self.told_to_end)
        self.failed_with = 1
        """Exit code of the rank that failed last; the pod's own if the run is over because of it."""

    def run(self) -> int:
        """Train until the run is over or this pod is told to end. Gives the pod's exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self.told_to_end.set())
        warm_up(self.settings.request.local_world_size)
        while True:
            place = self._join()
            if place is None:
                return exit_codes.STOPPED
            if isinstance(place, Gone):
                log.info("no round to join: %s", place.reason)
                codes = {"failed": self.failed_with, "suspended": exit_codes.STOPPED}
                return codes.get(place.reason, exit_codes.FINISHED)
            match self._train(place):
                case Next.FINISHED:
                    return exit_codes.FINISHED
                case Next.STOPPED:
                    return exit_codes.STOPPED

    def _join(self) -> RoundAssignment | Gone | None:
        """Wait for a place; ``None`` when the pod was told to end meanwhile."""
        complained = False
        while not self.told_to_end.is_set():
            try:
                if place := self.client.join(self.settings.request):
                    return place
            except Unreachable as error:
                if not complained:
                    log.info("waiting for the coordinator (%s)", error)
                complained = True
                time.sleep(RETRY_SECONDS)
        return None

    def _train(self, place: RoundAssignment) -> Next:
        """Run one round, and say how this pod leaves it."""
        log.info("round %d: node %d of %d, world size %d", place.round, place.node_rank, place.nodes, place.world_size)
        ranks = Ranks(self.settings, place)
        with Heart(self.client, ranks) as heart:
            try:
                ranks.start()
                watched = Round(ranks, heart, self.client, self.told_to_end)
                following = watched.run()
            finally:
                ranks.kill()
        if watched.failed:
            self.failed_with = watched.failed.exit_code or 1
        if following is Next.STOPPED:
            watched.leave(Outcome.STOPPED)
        return following
