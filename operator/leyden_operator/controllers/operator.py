"""The running operator: watches, queue, resync and probes side by side until SIGTERM."""

import asyncio
import logging
import signal
import time
from datetime import timedelta

import aiohttp
import kopf

from leyden_operator import health, metrics
from leyden_operator.cluster import ApiError, Call, Cluster, connect
from leyden_operator.controllers import watches
from leyden_operator.controllers.coordinators import Coordinators
from leyden_operator.controllers.observe import Observer
from leyden_operator.controllers.queue import Key, KeyQueue
from leyden_operator.controllers.reconcile import Reconciler
from leyden_operator.settings import Settings

log = logging.getLogger(__name__)

RESYNC_SECONDS = 60.0
"""How often all resources are looked at without an event: a safety net, and the check of the watches."""


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    _end_on_signals(ended)
    async with connect(_count) as cluster, aiohttp.ClientSession() as session:
        reconciler = Reconciler(cluster, Observer(cluster), Coordinators(session), settings)
        queue = KeyQueue(Measured(reconciler))
        await _run(cluster, queue, settings, ended)


def _end_on_signals(ended: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)


async def _run(cluster: Cluster, queue: KeyQueue, settings: Settings, ended: asyncio.Event) -> None:
    watched = watches.Watches(queue)
    probes = health.Health(longest_wait=queue.longest_wait, queue_depth=lambda: queue.depth)
    runner = await health.serve(probes, settings.health_port)
    ready = asyncio.Event()
    work = [
        asyncio.create_task(queue.run(), name="queue"),
        asyncio.create_task(_resync(cluster, queue, watched, probes, settings), name="resync"),
        asyncio.create_task(probes.measure_lag(), name="lag"),
        asyncio.create_task(_tell_ready(ready, probes, ended), name="ready"),
        asyncio.create_task(
            kopf.operator(
                registry=watched.registry(),
                settings=watches.settings(),
                namespaces=settings.watch_namespaces,
                clusterwide=not settings.watch_namespaces,
                stop_flag=ended,
                ready_flag=ready,
            ),
            name="watches",
        ),
    ]
    try:
        stop = asyncio.create_task(ended.wait(), name="stop")
        done, _ = await asyncio.wait([*work, stop], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            # None of them ends by itself: better to start anew than to go on with a part missing.
            raise RuntimeError(f"the operator's {task.get_name()} ended") from task.exception()
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await runner.cleanup()


async def _tell_ready(ready: asyncio.Event, probes: health.Health, ended: asyncio.Event) -> None:
    await ready.wait()
    # kopf has put handlers of its own in the place of ours by now.
    _end_on_signals(ended)
    probes.watching = True
    log.info("watching")
    await asyncio.Event().wait()


def _count(call: Call) -> None:
    metrics.api_requests.labels(call.verb, call.group, call.resource).inc()


class Measured:
    """A reconciler that counts and times what it does."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    async def __call__(self, key: Key) -> timedelta | None:
        outcome = "failed"
        try:
            with metrics.reconcile_seconds.labels(key.kind).time():
                again = await self._reconciler.reconcile(key)
            outcome = "done"
            return again
        finally:
            metrics.reconciliations.labels(key.kind, outcome).inc()


async def _resync(
    cluster: Cluster, queue: KeyQueue, watched: watches.Watches, probes: health.Health, settings: Settings
) -> None:
    """Look at every resource now and then, and notice those that no watch told of."""
    while True:
        await asyncio.sleep(RESYNC_SECONDS)
        try:
            unseen = False
            for kind in watches.RESOURCES.values():
                for namespace in settings.watch_namespaces or ("",):
                    for item in await cluster.list(kind, namespace):
                        meta = item["metadata"]
                        unseen = unseen or meta["uid"] not in watched.seen
                        queue.add(Key(kind, meta["namespace"], meta["name"]))
        except ApiError as error:
            log.warning("resync: %s", error)
            continue
        probes.unseen_since = (probes.unseen_since or time.monotonic()) if unseen else None
