"""The development environment: everything in requirements/dev.txt, once for each content of that file."""

import hashlib
import importlib.util
import shutil
import sys
import tempfile
import venv
from pathlib import Path

from leyden_images.parts import LOCK_OF_TOOLS, ROOT
from leyden_images.shell import BuildError, Say, alone, cache_directory, run

LOCK = "requirements/dev.txt"


def environment(say: Say) -> Path:
    """Path of the environment, made where it does not exist.

    A half-made one is never seen: it gets its name when it is complete. Two processes that ask at once get one.

    Raises:
        BuildError: Python cannot make environments, or an installation failed.
    """
    target = cache_directory() / f"venv-{key()}"
    if target.is_dir():
        return target
    if importlib.util.find_spec("ensurepip") is None:
        raise BuildError("The Debian package python3-venv is missing; `make prerequisites` installs it.")
    with alone("venv", say):
        if not target.is_dir():
            _make(target, say)
    return target


def _make(target: Path, say: Say) -> None:
    with tempfile.TemporaryDirectory(dir=cache_directory(), prefix=".venv-") as tools:
        say("installing uv")
        venv.create(tools, with_pip=True)
        run(f"{tools}/bin/pip", "install", "-q", "--require-hashes", "-r", str(ROOT / LOCK_OF_TOOLS))
        part = target.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        uv = f"{tools}/bin/uv"
        run(uv, "venv", "-q", "--python", sys.executable, "--relocatable", str(part))
        say(f"installing {LOCK}: gigabytes with torch, minutes on a first run")
        python = ("--python", str(part / "bin" / "python"))
        # uv shows its progress on standard error.
        run(uv, "pip", "install", *python, "--require-hashes", "-r", str(ROOT / LOCK))
    part.rename(target)
    say(f"{target} is there")


def key() -> str:
    """Changes with the lock file and with the version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return hashlib.sha256(version.encode() + (ROOT / LOCK).read_bytes()).hexdigest()[:12]
