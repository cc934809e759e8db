"""``leyden serve``: the server image's app on this machine."""

from __future__ import annotations

import importlib.util
import os
import sys

from leyden.errors import MisconfigurationError


def run(command: str, arguments: list[str]) -> None:
    """Become ``python -m leyden_server``, which does not share this process's imports."""
    if importlib.util.find_spec("leyden_server") is None:
        raise MisconfigurationError("the server is not installed: pip install 'leyden[server]'")
    os.execv(sys.executable, [sys.executable, "-m", "leyden_server", *arguments])
