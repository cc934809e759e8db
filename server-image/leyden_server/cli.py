"""``leyden serve``: serve a checkpoint from the command line, or as the operator configured it."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from leyden_contract.manifest import ModelFormat
from leyden_server.errors import CannotServe
from leyden_server.serve import serve
from leyden_server.settings import PORT, from_environment

TERMINATION_LOG = "/dev/termination-log"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    path: Annotated[Path | None, typer.Argument(help="a checkpoint directory, or a directory of step-* ones")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="TCP port", min=1, max=65535)] = PORT,
    format: Annotated[
        ModelFormat | None,
        typer.Option(help="what to load; .pt2 and TorchScript files can run code: name them only for your own"),
    ] = None,
) -> None:
    """Serve the model of a checkpoint over HTTP."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(from_environment(os.environ, path, format), host, port)
    except CannotServe as error:
        tell(str(error))
        sys.exit(error.exit_code)


def tell(message: str) -> None:
    """Say why there is no server: to a person, and to Kubernetes where it listens."""
    print(message, file=sys.stderr)
    log = Path(os.environ.get("LEYDEN_TERMINATION_LOG", TERMINATION_LOG))
    if log.exists():
        log.write_text(message)
