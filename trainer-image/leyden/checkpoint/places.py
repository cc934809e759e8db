"""Where checkpoints are: a local path, or a URL of any file system that fsspec knows.

Both answer to the few methods of ``pathlib.Path`` that checkpoints need, and every failure is an ``OSError``.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from leyden.errors import CheckpointStorage, MisconfigurationError

URL = re.compile(r"^(?P<protocol>[A-Za-z][\w+.-]+)(://|::)")
OBJECT_STORES = ("s3", "s3a", "gs", "abfs", "abfss", "az")
"""Served by ``obstore``, which takes keys and endpoint from the usual variables, where fsspec has nothing else."""


@dataclass(frozen=True)
class Url:
    """A file or folder of an fsspec file system."""

    protocol: str
    path: str
    system: Any = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path.lstrip('/')}"

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Url:
        return self._at(self.path.rsplit("/", 1)[0])

    def _at(self, path: str) -> Url:
        return Url(self.protocol, path, self.system)

    def __truediv__(self, name: str) -> Url:
        return self._at(f"{self.path}/{name}")

    def exists(self) -> bool:
        with self.reaching():
            return bool(self.system.exists(self.path))

    def is_file(self) -> bool:
        with self.reaching():
            return bool(self.system.isfile(self.path))

    def is_dir(self) -> bool:
        with self.reaching():
            return bool(self.system.isdir(self.path))

    def iterdir(self) -> Iterator[Url]:
        with self.reaching():
            self.system.invalidate_cache()
            found = self.system.ls(self.path, detail=False)
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.strip("/") != self.path.strip("/"))
        return (self / name for name in names)

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """As far as the file system has folders at all; object stores make them with the first file."""
        with self.reaching():
            self.system.makedirs(self.path, exist_ok=exist_ok)

    @contextmanager
    def open(self, mode: str) -> Iterator[IO[bytes]]:
        with self.reaching(), self.system.open(self.path, mode) as file:
            yield file

    def read_bytes(self) -> bytes:
        with self.reaching():
            content: bytes = self.system.cat_file(self.path)
            return content

    def write_bytes(self, data: bytes) -> None:
        with self.reaching():
            self.system.pipe_file(self.path, data)

    def unlink(self, missing_ok: bool = False) -> None:
        with self.reaching():
            if self.system.exists(self.path) or not missing_ok:
                self.system.rm_file(self.path)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Each file system has errors of its own; here they become one kind with one sentence."""
        try:
            yield
        except OSError as error:
            if error.strerror:
                raise
            raise OSError(errno.EIO, _first_line(error)) from error
        except Exception as error:  # what a library raises for a missing bucket or a refused connection is its own
            raise OSError(errno.EIO, _first_line(error)) from error


Place = Path | Url


def _first_line(error: Exception) -> str:
    """What a person can use of it; stores append their whole answer."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(": <?xml")[0].strip()[:500]


@contextmanager
def storage(failed: str, then: str = "") -> Iterator[None]:
    """Raise ``CheckpointStorage`` for an ``OSError``: what failed, its cause, and what follows from it."""
    try:
        yield
    except OSError as error:
        raise CheckpointStorage(f"{failed}: {error.strerror or _first_line(error)}{then}") from error


def size(file: Place) -> int:
    """Bytes."""
    if isinstance(file, Path):
        return file.stat().st_size
    with file.reaching():
        return int(file.system.size(file.path))


def modified(file: Place) -> float:
    """Seconds since 1970; 0 where the file system does not say."""
    if isinstance(file, Path):
        return file.stat().st_mtime
    with file.reaching():
        try:
            return float(file.system.modified(file.path).timestamp())
        except NotImplementedError:
            return 0.0


def remove_tree(folder: Place) -> None:
    """Delete a folder and all that is in it, if it is there."""
    if isinstance(folder, Path):
        if folder.exists():
            shutil.rmtree(folder)
        return
    with folder.reaching():
        if folder.system.exists(folder.path):
            folder.system.rm(folder.path, recursive=True)


def place(given: str | os.PathLike[str] | Url) -> Place:
    """The place that a path or a URL means. Raises ``MisconfigurationError`` where nothing can reach it."""
    if isinstance(given, Url):
        return given
    text = os.fspath(given)
    found = URL.match(text)
    if found is None:
        return Path(text)
    if found["protocol"] == "file":
        return Path(text.removeprefix("file://"))
    import fsspec

    options = _provide(found["protocol"])
    try:
        system, path = fsspec.core.url_to_fs(text, **options)
    except (ImportError, ValueError) as error:
        raise MisconfigurationError(f"{text} cannot be reached: {error}") from error
    return Url(found["protocol"], path.rstrip("/"), system)


def _provide(protocol: str) -> dict[str, Any]:
    """Let ``obstore`` serve a protocol that nothing else does; its options for a store that does not answer."""
    if protocol not in OBJECT_STORES:
        return {}
    import fsspec

    try:
        system = fsspec.get_filesystem_class(protocol)
    except ImportError:
        try:
            from obstore.fsspec import register
        except ImportError:
            raise MisconfigurationError(f"{protocol}:// needs a package: `pip install obstore`") from None
        register(protocol)
        system = fsspec.get_filesystem_class(protocol)
    if not system.__module__.startswith("obstore"):
        return {}
    from datetime import timedelta

    # Its own patience is three minutes, in which training would stand still without a word.
    return {"retry_config": {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}}
