"""The images, built where their inputs changed, and their file systems."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leyden_images.parts import PARTS, ROOT

# As Kubernetes runs our pods: the root file system ($0) read-only, /tmp a volume.
READ_ONLY = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"
mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && mount -t tmpfs -o mode=1777 tmpfs "$0/tmp"
""".strip()


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@dataclass(frozen=True)
class Image:
    """A built image, mounted."""

    config: dict[str, Any]
    size: int
    """Bytes, uncompressed."""

    root: Path

    def start(self, module: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a module as the image's user, with its variables, on its file system made read-only."""
        values = {**dict(each.split("=", 1) for each in self.config["Env"]), **environ}
        script = f'{READ_ONLY} && exec "$@"'
        chroot = ("chroot", f"--userspec={self.config['User']}", str(self.root))
        entry = [*self.config["Entrypoint"], "python3", "-m", module]
        return run("unshare", "--mount", "sh", "-ec", script, str(self.root), *chroot, *entry, env=values)


@pytest.fixture(scope="session")
def images() -> Iterator[dict[str, Image]]:
    """All images, mounted from working containers that go with the tests."""
    command = (sys.executable, "-m", "leyden_images", "--engine", "buildah", "build")
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "cluster")})
    containers = {}
    try:
        for name, part in PARTS.items():
            containers[name] = run("buildah", "from", part.image, check=True).stdout.strip()
        yield {name: image(name, container) for name, container in containers.items()}
    finally:
        run("buildah", "rm", *containers.values())


def image(name: str, container: str) -> Image:
    inspected = json.loads(run("buildah", "inspect", "--type", "image", PARTS[name].image, check=True).stdout)
    size = sum(layer["size"] for layer in json.loads(inspected["Manifest"])["layers"])
    mounted = run("buildah", "mount", container, check=True).stdout.strip()
    return Image(inspected["OCIv1"]["config"], size, Path(mounted))
