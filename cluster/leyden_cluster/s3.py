"""An S3-compatible store beside the cluster."""

import json
import secrets
from pathlib import Path

from leyden_cluster.processes import Component
from leyden_cluster.settings import HOST_ADDRESS, S3_PORT, state_directory


def credentials() -> Path:
    """Endpoint, access key and secret as JSON; exists once a store was asked for."""
    return state_directory() / "s3.json"


def component(binaries: Path) -> Component:
    """The store, with its folder and its keys made where they are missing."""
    folder = state_directory() / "s3"
    folder.mkdir(exist_ok=True)
    if not credentials().exists():
        endpoint = f"http://{HOST_ADDRESS}:{S3_PORT}"
        part = credentials().with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(json.dumps({"endpoint": endpoint, "access": "leyden", "secret": secrets.token_hex(16)}))
        part.rename(credentials())
    keys = json.loads(credentials().read_text())
    options = (f"--port={HOST_ADDRESS}:{S3_PORT}", f"--access={keys['access']}", f"--secret={keys['secret']}")
    return Component("s3", (str(binaries / "versitygw"), *options, "posix", str(folder)), state_directory())
