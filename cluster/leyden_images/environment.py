"""The development environment, and beside it the projects that Leyden is compared with: once for each lock file."""

import hashlib
import importlib.util
import shutil
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

from leyden_images.parts import LOCK_OF_TOOLS, ROOT
from leyden_images.shell import BuildError, Say, alone, cache_directory, run

LOCK = "requirements/dev.txt"
PEERS = "requirements/peers.txt"
LIBRARIES = "requirements/libraries.txt"


def environment(say: Say) -> Path:
    """Path of the environment, made where it does not exist.

    A half-made one is never seen: it gets its name when it is complete. Two processes that ask at once get one.

    Raises:
        BuildError: Python cannot make environments, or an installation failed.
    """

    def fill(uv: str, folder: Path) -> None:
        run(uv, "venv", "-q", "--python", sys.executable, "--relocatable", str(folder))
        say(f"installing {LOCK}: gigabytes with torch, minutes on a first run")
        python = ("--python", str(folder / "bin" / "python"))
        # uv shows its progress on standard error.
        run(uv, "pip", "install", *python, "--require-hashes", "-r", str(ROOT / LOCK))

    return _made("venv", LOCK, fill, say)


def peers(say: Say) -> Path:
    """Path of a folder with Lightning and what it needs beyond the environment, for PYTHONPATH. Raises as above."""
    return _beside("peers", PEERS, say)


def libraries(say: Say) -> Path:
    """The same of libraries that are written for Lightning, without Lightning."""
    return _beside("libraries", LIBRARIES, say)


def _beside(name: str, lock: str, say: Say) -> Path:
    python = environment(say) / "bin" / "python"

    def fill(uv: str, folder: Path) -> None:
        options = ("--no-deps", "--require-hashes", "--target", str(folder), "-r", str(ROOT / lock))
        run(uv, "pip", "install", "-q", "--python", str(python), *options)

    return _made(name, lock, fill, say)


def _made(name: str, lock: str, fill: Callable[[str, Path], None], say: Say) -> Path:
    """The folder for a lock file's content, filled by ``fill(uv, folder)`` where it does not exist."""
    target = cache_directory() / f"{name}-{key(lock)}"
    if target.is_dir():
        return target
    if importlib.util.find_spec("ensurepip") is None:
        raise BuildError("The Debian package python3-venv is missing; `make prerequisites` installs it.")
    with alone(name, say):
        if not target.is_dir():
            part = target.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=cache_directory(), prefix=".tools-") as tools:
                say("installing uv")
                venv.create(tools, with_pip=True)
                run(f"{tools}/bin/pip", "install", "-q", "--require-hashes", "-r", str(ROOT / LOCK_OF_TOOLS))
                fill(f"{tools}/bin/uv", part)
            part.rename(target)
            say(f"{target} is there")
    return target


def key(lock: str = LOCK) -> str:
    """Changes with the lock file and with the version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return hashlib.sha256(version.encode() + (ROOT / lock).read_bytes()).hexdigest()[:12]
