"""``python -m leyden_server [PATH]``."""

from leyden_server.cli import app

app()
