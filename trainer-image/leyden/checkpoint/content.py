"""Single files on their way to storage: hashed while they are written, and durable when a call returns."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from leyden.checkpoint.places import Place

if TYPE_CHECKING:
    from leyden_contract.manifest import FileEntry

Content = dict[str, Any] | bytes | Path
"""A file's content: a dict that ``torch.save`` writes, bytes, or a local file that is ready to be copied."""


class _Hashing:
    """A file that is only written, with the hash and the size of what went through it."""

    def __init__(self, file: IO[bytes], keeps: bool) -> None:
        self._file = file
        self._keeps = keeps
        """Whether the file may hold on to what it is given, which torch frees after the call."""
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self._file.write(bytes(data) if self._keeps else data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def write_content(place: Place, content: Content) -> FileEntry:
    """Write a file and give its entry for the manifest. Raises ``OSError``."""
    from leyden_contract.manifest import FileEntry

    local = isinstance(place, Path)
    with place.open("wb") as file:
        hashing = _Hashing(file, keeps=not local)
        if isinstance(content, bytes):
            hashing.write(content)
        elif isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, hashing)
        else:
            _save(content, hashing)
        if local:
            file.flush()
            os.fsync(file.fileno())
    return FileEntry(sha256=hashing.hash.hexdigest(), size=hashing.size)


def _save(content: dict[str, Any], file: _Hashing) -> None:
    try:
        torch.save(content, file)  # type: ignore[arg-type]  # of a file it needs write() and flush()
    except RuntimeError as error:  # of torch's own, when it closes a file whose disk was full
        disk = error.__context__
        if isinstance(disk, OSError) and disk.strerror:
            raise OSError(disk.errno, disk.strerror) from error
        raise OSError(errno.EIO, str(error).splitlines()[0]) from error


def put(place: Place, content: Content) -> FileEntry:
    """:func:`write_content` in one move: readers see the file whole, or as it was before."""
    if not isinstance(place, Path):
        return write_content(place, content)
    unfinished = place.with_name(f".tmp-{place.name}")
    try:
        entry = write_content(unfinished, content)
        os.replace(unfinished, place)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync_directory(place.parent)
    return entry


def sync_directory(path: Path) -> None:
    """Make names in a local directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(place: Place) -> str:
    """The hash of a file's content, in hexadecimal."""
    if isinstance(place, Path):
        with place.open("rb") as local:
            return hashlib.file_digest(local, "sha256").hexdigest()
    found = hashlib.sha256()
    with place.open("rb") as file:
        while block := file.read(1 << 22):
            found.update(block)
    return found.hexdigest()
