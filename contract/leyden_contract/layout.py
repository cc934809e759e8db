"""The checkpoint directory: its names, by the standard library alone.

A checkpoint is a directory ``step-000000001200`` that holds ``manifest.json``. The manifest is written last, so a
directory without one is not a checkpoint, whatever else it holds.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Protocol, Self

MANIFEST_NAME = "manifest.json"
PINNED_NAME = "pinned"
"""A file of this name in a checkpoint's directory keeps the checkpoint: whatever it holds, retention passes over it."""

SERVED_NAME = "served"
"""Keeps a checkpoint as :data:`PINNED_NAME` does, which is for people. The training that writes here sets it."""

STEP_DIRECTORY = re.compile(r"^step-(\d{12})$")


class Directory(Protocol):
    """What a local path and a folder of an object store have in common."""

    @property
    def name(self) -> str: ...
    def is_dir(self) -> bool: ...
    def is_file(self) -> bool: ...
    def iterdir(self) -> Iterable[Self]: ...
    def __truediv__(self, name: str) -> Self: ...


def step_directory(step: int) -> str:
    """Name of the directory that holds the checkpoint of ``step``."""
    return f"step-{step:012d}"


def parse_step(name: str) -> int | None:
    """The step that a directory's name stands for, or ``None`` where it is no checkpoint directory's name."""
    found = STEP_DIRECTORY.match(name)
    return int(found.group(1)) if found else None


def digest_of(manifest: bytes) -> str:
    """A checkpoint's digest: it covers the manifest, and the manifest covers every file."""
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def complete_steps(directory: Directory) -> list[int]:
    """Steps with a manifest in ``directory``, newest first. A directory that does not exist holds none."""
    if not directory.is_dir():
        return []
    steps = (parse_step(entry.name) for entry in directory.iterdir() if (entry / MANIFEST_NAME).is_file())
    return sorted((step for step in steps if step is not None), reverse=True)
