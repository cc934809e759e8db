"""The processes: one that serves, or several under uvicorn's supervisor."""

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from leyden_contract import environment
from leyden_server import metrics
from leyden_server.cgroup import cpu_limit, workers_and_threads
from leyden_server.settings import ServerSettings, from_environment

PATH_VARIABLE = "LEYDEN_SERVER_PATH"
"""Carries a path that was given by hand to the workers."""


def application() -> FastAPI:
    """The application of this process, from its environment: verified, loaded and warmed up."""
    from leyden_server.app import create_app
    from leyden_server.loading import load, use_threads
    from leyden_server.model import Model

    settings = from_environment(os.environ, _path())
    use_threads(_workers_and_threads(settings)[1])
    model = Model(load(settings))
    model.warm_up()
    return create_app(model, settings)


def _workers_and_threads(settings: ServerSettings) -> tuple[int, int]:
    """Processes, and torch threads of each, by what this container has."""
    from leyden.accelerators import CUDAAccelerator

    return workers_and_threads(settings.workers, cpu_limit(), CUDAAccelerator.is_available())


def _path() -> Path | None:
    given = os.environ.get(PATH_VARIABLE)
    return Path(given) if given else None


def serve(settings: ServerSettings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests that came before are answered.

    Raises:
        CannotServe: the model cannot be loaded.
    """
    os.environ |= {PATH_VARIABLE: str(settings.path), environment.MODEL_FORMAT: settings.format}
    workers, _ = _workers_and_threads(settings)
    app: FastAPI | str = "leyden_server.serve:application"
    if workers == 1:
        app = application()
    else:
        metrics.share_between_workers()
        # Once before workers are started: the supervisor would start one that cannot load again for ever.
        application()
    uvicorn.run(
        app,
        factory=workers > 1,
        workers=workers,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        timeout_graceful_shutdown=settings.timeout_ms // 1000 + 5,
    )
