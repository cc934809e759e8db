"""The HTTP side of the coordinator: parses, calls the pure functions with the time, saves, answers JSON."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from leyden_contract.wire import (
    JOIN_POLL_SECONDS,
    Events,
    Failure,
    Gone,
    Heartbeat,
    JoinRequest,
    Leave,
    Membership,
)
from leyden_coordinator import ledger, membership, report, rounds
from leyden_coordinator.state import SILENT, State
from leyden_coordinator.store import Store

MAX_BODY_BYTES = 256 * 1024
TICK_SECONDS = 0.2
HOLD_SECONDS = min(JOIN_POLL_SECONDS, SILENT.total_seconds() / 2)
"""A join is held no longer, so that an agent which waits is heard often enough to count as alive."""

Message = TypeVar("Message", bound=BaseModel)


class Coordinator:
    """Holds the state, and wakes those who wait when it changes."""

    def __init__(self, state: State, store: Store) -> None:
        self.state = state
        self.store = store
        self._changed = asyncio.Event()

    def advance(self) -> None:
        """Let time pass, save, and wake all join requests that are held."""
        before = self._landmarks()
        rounds.advance(self.state, now())
        if (after := self._landmarks()) != before:
            logging.info("round %d, %s, %d members, %d booked", *after)
        self.store.save(self.state)
        self._changed.set()
        self._changed = asyncio.Event()

    def _landmarks(self) -> tuple[int, str, int, int]:
        state = self.state
        return state.round, report.phase(state).value, len(state.members), len(state.ledger)

    async def join(self, request: web.Request) -> web.Response:
        message = await body(request, JoinRequest)
        uid = message.pod_uid
        rounds.join(self.state, message, now())
        self.advance()
        deadline = asyncio.get_running_loop().time() + HOLD_SECONDS
        try:
            while (answer := rounds.answer(self.state, uid, now())) is None:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
        except TimeoutError:
            return web.Response(status=204)
        except asyncio.CancelledError:
            rounds.withdraw(self.state, uid)
            raise
        return reply(answer, 410 if isinstance(answer, Gone) else 200)

    async def heartbeat(self, request: web.Request) -> web.Response:
        message = await body(request, Heartbeat)
        answer = rounds.heartbeat(self.state, message, now())
        return reply(answer)

    async def events(self, request: web.Request) -> web.Response:
        report.take(self.state, await body(request, Events), now())
        return done()

    async def failure(self, request: web.Request) -> web.Response:
        ledger.fail(self.state, await body(request, Failure), now())
        self.advance()
        return done()

    async def leave(self, request: web.Request) -> web.Response:
        rounds.leave(self.state, await body(request, Leave), now())
        self.advance()
        return done()

    async def report(self, request: web.Request) -> web.Response:
        return reply(report.report(self.state))

    async def membership(self, request: web.Request) -> web.Response:
        membership.tell(self.state, await body(request, Membership), now())
        self.advance()
        return done()

    async def healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def tick(self, app: web.Application) -> AsyncIterator[None]:
        """Lets time pass while the app runs."""

        async def run() -> None:
            while True:
                self.advance()
                await asyncio.sleep(TICK_SECONDS)

        task = asyncio.create_task(run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def now() -> datetime:
    return datetime.now(UTC)


def reply(message: BaseModel, status: int = 200) -> web.Response:
    return web.Response(text=message.model_dump_json(), status=status, content_type="application/json")


def done() -> web.Response:
    return web.json_response({})


async def body(request: web.Request, kind: type[Message]) -> Message:
    """The request's message. Answers 422 that names each field which is wrong."""
    try:
        return kind.model_validate_json(await request.read())
    except ValidationError as error:
        problems = [
            {"field": ".".join(map(str, problem["loc"])) or "body", "error": problem["msg"]}
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        text = json.dumps({"error": f"not a {kind.__name__}", "fields": problems})
        raise web.HTTPUnprocessableEntity(text=text, content_type="application/json") from error


def guard(token: str) -> Middleware:
    """Middleware: everything but the health check needs the token, and errors are JSON too."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path != "/healthz" and not hmac.compare_digest(given, expected):
            return web.json_response({"error": "Authorization: Bearer <token> is missing or wrong"}, status=401)
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.content_type == "application/json":
                raise
            return web.json_response({"error": error.reason}, status=error.status)

    return check


def application(state: State, store: Store, token: str) -> web.Application:
    """The coordinator as an aiohttp application. It saves its state at once, so a bad path fails at start."""
    coordinator = Coordinator(state, store)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[guard(token)])
    app.add_routes(
        [
            web.post("/v1/join", coordinator.join),
            web.post("/v1/heartbeat", coordinator.heartbeat),
            web.post("/v1/events", coordinator.events),
            web.post("/v1/failure", coordinator.failure),
            web.post("/v1/leave", coordinator.leave),
            web.get("/v1/report", coordinator.report),
            web.put("/v1/membership", coordinator.membership),
            web.get("/healthz", coordinator.healthz),
        ]
    )
    app.cleanup_ctx.append(coordinator.tick)
    store.save(state)
    return app
