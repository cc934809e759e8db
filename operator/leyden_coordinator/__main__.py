"""``python -m leyden_coordinator``: reads the environment that the operator gave the pod, and serves."""

import logging
import os
import sys
from pathlib import Path

from aiohttp import web

from leyden_contract import environment, exit_codes
from leyden_contract.wire import PORT
from leyden_coordinator import state
from leyden_coordinator.app import application
from leyden_coordinator.store import Store


class BadSetting(Exception):
    """An environment variable is missing or wrong; the message says which."""


def required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise BadSetting(f"{name} is not set")
    return value


def number(name: str, least: int) -> int:
    """An integer setting of at least ``least``."""
    value = required(name)
    if not value.isdecimal() or int(value) < least:
        raise BadSetting(f"{name}={value!r} is not allowed: it must be an integer of at least {least}")
    return int(value)


def run() -> None:
    """Serve until the pod is told to end. Goes on from the saved state of the same run."""
    run_id, token = required(environment.RUN_ID), required(environment.TOKEN)
    least, most = number(environment.NODES_MIN, 1), number(environment.NODES_MAX, 1)
    store = Store(Path(required(environment.LEDGER)))
    known = store.load()
    fresh = state.new(run_id, least, most, number(environment.RESTART_BUDGET, 0))
    port = int(os.environ.get("LEYDEN_PORT", str(PORT)))
    app = application(known if known and known.run_id == run_id else fresh, store, token)
    logging.info("run %s: %d to %d nodes, listening on port %d", run_id, least, most, port)
    web.run_app(app, port=port, access_log=None, print=None, handler_cancellation=True, shutdown_timeout=1)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        run()
    except (BadSetting, ValueError) as error:
        print(f"leyden_coordinator: {error}", file=sys.stderr)
        return exit_codes.MISCONFIGURED
    return 0


if __name__ == "__main__":
    sys.exit(main())
