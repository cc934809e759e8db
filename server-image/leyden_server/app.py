"""The FastAPI application of one model."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from leyden_server.errors import BadRequest
from leyden_server.metrics import Metrics
from leyden_server.model import Model
from leyden_server.schema import Problems, answer_model, request_model
from leyden_server.settings import ServerOptions

log = logging.getLogger("leyden.server")
JSON = "application/json"


DRAIN_SECONDS = 1.0
"""Between SIGTERM and the end of listening: readiness fails, and answers close their connections."""


@dataclass
class State:
    """Whether this process is about to end."""

    draining: bool = False

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Put a pause before uvicorn's own reaction to SIGTERM, in which clients are told to turn elsewhere."""
        end = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def drain(number: int, frame: FrameType | None) -> None:
            self.draining = True
            if callable(end):
                loop.call_soon_threadsafe(loop.call_later, DRAIN_SECONDS, end, number, frame)

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, drain)
        yield


def create_app(model: Model, options: ServerOptions) -> FastAPI:
    """The application: ``POST /predict``, ``/healthz``, ``/readyz``, ``/metrics``, ``/docs``."""
    title = model.name.rpartition(":")[2]
    state = State()
    described = f"Step {model.step}, {model.digest}, {model.format} on {model.device.type}"
    app = FastAPI(title=title, description=described, version=str(model.step), lifespan=state.lifespan)
    metrics = Metrics()
    metrics.step.set(model.step)
    predictor = Predictor(model, options, metrics, state)
    problems = {"model": Problems}
    app.add_api_route(
        "/predict",
        predictor.answer,
        methods=["POST"],
        summary="Ask the model",
        responses={
            200: {"model": answer_model(model.signature)},
            **{413: problems, 415: problems, 422: problems, 500: problems, 504: problems},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": request_model(model.signature).model_json_schema()}},
            }
        },
    )
    _add_probes(app, metrics, state)
    return app


def _add_probes(app: FastAPI, metrics: Metrics, state: State) -> None:
    @app.get("/healthz", response_class=PlainTextResponse, summary="The process answers")
    async def healthz() -> str:
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, summary="Send requests here", responses={503: {}})
    async def readyz() -> Response:
        return PlainTextResponse("draining", 503) if state.draining else PlainTextResponse("ok")

    @app.get("/metrics", response_class=PlainTextResponse, summary="For Prometheus")
    async def exposition() -> Response:
        return metrics.exposition()


class Predictor:
    """The way of a request: read, parse, compute, answer; with a limit on each."""

    def __init__(self, model: Model, options: ServerOptions, metrics: Metrics, state: State) -> None:
        self._model = model
        self._limit = options.max_body_bytes
        self._seconds = options.timeout_ms / 1000
        self._metrics = metrics
        self._state = state
        # One thread computes: torch spreads an operator over the processors by itself.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._tail = orjson.dumps({"step": model.step, "digest": model.digest})[1:]
        self._headers = {"x-leyden-step": str(model.step), "x-leyden-digest": model.digest}

    async def answer(self, request: Request) -> Response:
        """Answer one request and count it."""
        began = time.perf_counter()
        with self._metrics.in_flight.track_inprogress():
            response = await self._answered(request)
        self._metrics.requests.labels(str(response.status_code)).inc()
        self._metrics.seconds.observe(time.perf_counter() - began)
        if self._state.draining:
            response.headers["connection"] = "close"
        return response

    async def _answered(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(request)
                return Response(await loop.run_in_executor(self._pool, self._compute, body), 200, self._headers, JSON)
        except BadRequest as error:
            return JSONResponse({"detail": error.detail}, error.status)
        except TimeoutError:
            return _problem(504, f"no answer within {self._seconds:g} s", "timeout")
        except Exception as error:
            log.exception("the model failed")
            if await loop.run_in_executor(self._pool, self._model.is_lost):
                log.error("the GPU is lost to this process, which ends so that a new one takes its place")
                signal.raise_signal(signal.SIGTERM)
            return _problem(500, f"the model failed: {type(error).__name__}: {error}", "model_error")

    async def _body(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise BadRequest(415, f"content-type must be {JSON}, not {kind or 'absent'}", kind="content_type")
        if int(request.headers.get("content-length") or 0) > self._limit:
            raise self._too_large()
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> BadRequest:
        return BadRequest(413, f"the body must not be larger than {self._limit} bytes", kind="too_large")

    def _compute(self, body: bytes) -> bytes:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadRequest(422, f"is not valid JSON: {error}", kind="json_invalid") from None
        outputs = self._model.predict(self._model.parse(parsed))
        return b'{"outputs":' + orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY) + b"," + self._tail


def _problem(status: int, message: str, kind: str) -> JSONResponse:
    return JSONResponse({"detail": [{"loc": [], "msg": message, "type": kind}]}, status)
