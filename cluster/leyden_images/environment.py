"""The development environment: everything in requirements/dev.txt, once for each content of that file."""

import hashlib
import shutil
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

from leyden_images.parts import LOCK_OF_TOOLS, ROOT
from leyden_images.shell import cache_directory, run

LOCK = "requirements/dev.txt"


def environment(say: Callable[[str], None]) -> Path:
    """Path of the environment, made where it does not exist.

    A half-made one is never seen: it gets its name when it is complete.
    """
    target = cache_directory() / f"venv-{key()}"
    if target.is_dir():
        return target
    cache_directory().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_directory(), prefix=".venv-") as tools:
        say("installing uv")
        venv.create(tools, with_pip=True)
        run(f"{tools}/bin/pip", "install", "-q", "--require-hashes", "-r", str(ROOT / LOCK_OF_TOOLS))
        part = target.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        uv = f"{tools}/bin/uv"
        run(uv, "venv", "-q", "--python", sys.executable, "--relocatable", str(part))
        say(f"installing {LOCK}")
        python = ("--python", str(part / "bin" / "python"))
        run(uv, "pip", "install", "-q", *python, "--require-hashes", "-r", str(ROOT / LOCK))
    part.rename(target)
    return target


def key() -> str:
    """Changes with the lock file and with the version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return hashlib.sha256(version.encode() + (ROOT / LOCK).read_bytes()).hexdigest()[:12]
