"""Whether the operator does its work: /healthz, /readyz and /metrics."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from leyden_operator import metrics

LAG_INTERVAL = 0.5
MAX_LAG = 5.0
"""Seconds by which the event loop may be late."""
MAX_WAIT = 120.0
"""Seconds that a due resource may wait, or a reconciliation may take."""
MAX_UNSEEN = 120.0
"""Seconds after which a listed resource must have come through its watch."""


@dataclass
class Health:
    """What the probes are answered from."""

    longest_wait: Callable[[], float]
    queue_depth: Callable[[], int]
    lag: float = 0.0
    beat: float = field(default_factory=time.monotonic)
    watching: bool = False
    unseen_since: float | None = None
    """Since when a resource is known from a list that no watch has told of."""

    def problems(self) -> list[str]:
        """Why the operator should be restarted; empty where all is well."""
        now = time.monotonic()
        found = []
        if (lag := max(self.lag, now - self.beat - LAG_INTERVAL)) > MAX_LAG:
            found.append(f"the event loop is {lag:.1f} s late")
        if (wait := self.longest_wait()) > MAX_WAIT:
            found.append(f"a resource has waited for {wait:.0f} s")
        if self.unseen_since is not None and now - self.unseen_since > MAX_UNSEEN:
            found.append(f"the watch has been silent for {now - self.unseen_since:.0f} s")
        return found

    async def measure_lag(self) -> None:
        """Notice, for ever, how late the event loop is."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(LAG_INTERVAL)
            self.beat = time.monotonic()
            self.lag = self.beat - began - LAG_INTERVAL
            metrics.loop_lag_seconds.set(self.lag)

    async def healthz(self, request: web.Request) -> web.Response:
        problems = self.problems()
        return web.Response(text="; ".join(problems) or "ok", status=500 if problems else 200)

    async def readyz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok" if self.watching else "starting", status=200 if self.watching else 503)

    async def exposition(self, request: web.Request) -> web.Response:
        metrics.queue_depth.set(self.queue_depth())
        metrics.queue_wait_seconds.set(self.longest_wait())
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(health: Health, port: int) -> web.AppRunner:
    """Answer probes on all addresses; the caller ends it with ``cleanup()``."""
    app = web.Application()
    routes = {"/healthz": health.healthz, "/readyz": health.readyz, "/metrics": health.exposition}
    app.add_routes([web.get(path, handler) for path, handler in routes.items()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
