"""Checkpoint directories on disk: written whole or not at all, verified before use, pruned without loss.

Nothing here knows about training; contents go in and come out as plain dicts of tensors and values.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leyden.errors import CheckpointCorrupt, CheckpointStorage, Superseded

if TYPE_CHECKING:
    from leyden_contract.manifest import FileEntry, Manifest

WEIGHTS = "weights.pt"
STATE = "state.pt"
WRITERS = ".writers"
UNFINISHED = ".tmp-"
REPLACED = ".old-"


@dataclass(frozen=True)
class Stored:
    """A complete checkpoint on disk."""

    path: Path
    manifest: Manifest
    digest: str

    @property
    def step(self) -> int:
        return self.manifest.step


def write(root: Path, contents: dict[str, dict[str, Any] | bytes], facts: dict[str, Any]) -> Stored:
    """Write a checkpoint: ``contents`` by file name, bytes as they are, ``facts`` for the manifest (all but ``files``).

    A checkpoint of the same step is replaced. Raises ``CheckpointStorage``, and then leaves what was there as it was.
    """
    from leyden_contract.manifest import MANIFEST_NAME, Manifest, digest_of, step_directory

    final = root / step_directory(facts["step"])
    unfinished = root / f"{UNFINISHED}{final.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        files = {name: _write_file(unfinished / name, content) for name, content in contents.items()}
        manifest = Manifest(files=files, **facts)
        text = manifest.model_dump_json(indent=2).encode()
        _write_bytes(unfinished / f"{MANIFEST_NAME}.tmp", text)
        _sync_directory(unfinished)
        os.rename(unfinished / f"{MANIFEST_NAME}.tmp", unfinished / MANIFEST_NAME)
        _sync_directory(unfinished)
        _put_in_place(unfinished, final)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        shutil.rmtree(unfinished, ignore_errors=True)
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise CheckpointStorage(
            f"the checkpoint of step {facts['step']} cannot be written to {root}: {cause}; "
            "earlier checkpoints are untouched"
        ) from error
    return Stored(final, manifest, digest_of(text))


def _put_in_place(unfinished: Path, final: Path) -> None:
    old = final.parent / f"{REPLACED}{final.name}"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    os.rename(unfinished, final)
    _sync_directory(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_file(path: Path, content: dict[str, Any] | bytes) -> FileEntry:
    from leyden_contract.manifest import FileEntry

    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(sha256=_sha256(path), size=path.stat().st_size)


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare(root: Path, run: str = "") -> None:
    """Make the directory of a run's checkpoints, prove that it can be written, and clear what a killed writer left.

    Unfinished directories go, a checkpoint caught in replacement comes back. ``run``: becomes the one that writes here.
    Raises ``CheckpointStorage``: better before the first step than after an epoch; and ``Superseded``.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if run:
            _take_over(root, run)
        (root / f"{UNFINISHED}probe").mkdir(exist_ok=True)
        for entry in list(root.iterdir()):
            if entry.name.startswith(REPLACED) and not (root / entry.name.removeprefix(REPLACED)).exists():
                os.rename(entry, root / entry.name.removeprefix(REPLACED))
            elif entry.name.startswith((UNFINISHED, REPLACED)):
                shutil.rmtree(entry)
    except OSError as error:
        raise CheckpointStorage(f"the checkpoint directory {root} cannot be written: {error.strerror}") from error


def inspect(path: Path) -> Stored:
    """The manifest of a checkpoint directory. Raises ``CheckpointCorrupt`` where there is none that can be read."""
    from pydantic import ValidationError

    from leyden_contract.manifest import MANIFEST_NAME, Manifest, digest_of

    try:
        text = (path / MANIFEST_NAME).read_bytes()
        return Stored(path, Manifest.model_validate_json(text), digest_of(text))
    except OSError as error:
        raise CheckpointCorrupt(f"{path.name}: the manifest cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise CheckpointCorrupt(f"{path.name}: the manifest is not valid: {field}: {first['msg']}") from error


def verify(stored: Stored) -> None:
    """Compare every file with the manifest. Raises ``CheckpointCorrupt`` that names the first that differs."""
    for name, entry in stored.manifest.files.items():
        path = stored.path / name
        try:
            size = path.stat().st_size
            if size != entry.size:
                raise CheckpointCorrupt(f"{stored.path.name}: {name} has {size} bytes instead of {entry.size}")
            if _sha256(path) != entry.sha256:
                raise CheckpointCorrupt(f"{stored.path.name}: {name} does not have the SHA-256 of its manifest")
        except OSError as error:
            raise CheckpointCorrupt(f"{stored.path.name}: {name} cannot be read: {error.strerror}") from error


def read(path: Path, map_location: Any = None) -> dict[str, Any]:
    """A checkpoint directory as one dict, under Lightning's keys. Only plain values and tensors are read."""
    try:
        weights = torch.load(path / WEIGHTS, map_location=map_location, weights_only=True)
        state: dict[str, Any] = torch.load(path / STATE, map_location=map_location, weights_only=True)
    except OSError as error:
        raise CheckpointStorage(f"the checkpoint {path} cannot be read: {error.strerror}") from error
    return {"state_dict": weights, **state}


def complete(root: Path, ignored: frozenset[str] = frozenset()) -> list[Stored]:
    """All checkpoints with a valid manifest but those with an ``ignored`` digest, newest first; files not verified."""
    from leyden_contract.manifest import complete_steps, step_directory

    found = []
    for step in complete_steps(root):
        try:
            found.append(inspect(root / step_directory(step)))
        except CheckpointCorrupt:
            continue  # no reader takes it; choosing what to resume from says why
    return [stored for stored in found if stored.digest not in ignored]


@dataclass(frozen=True)
class Choice:
    """What a run starts from, and why newer checkpoints were passed over."""

    stored: Stored | None
    skipped: tuple[str, ...] = ()
    damaged: frozenset[str] = frozenset()
    """Digests of those passed over, as far as their manifests can be read."""


def choose(root: Path, step: int | None = None, ignored: frozenset[str] = frozenset()) -> Choice:
    """The newest checkpoint (or that of ``step``) whose files are whole."""
    from leyden_contract.manifest import complete_steps, step_directory

    skipped: list[str] = []
    damaged: set[str] = set()
    for candidate in complete_steps(root) if step is None else [step]:
        try:
            stored = inspect(root / step_directory(candidate))
        except CheckpointCorrupt as error:
            skipped.append(str(error))
            continue
        if stored.digest in ignored:
            continue
        try:
            verify(stored)
        except CheckpointCorrupt as error:
            skipped.append(str(error))
            damaged.add(stored.digest)
            continue
        return Choice(stored, tuple(skipped), frozenset(damaged))
    return Choice(None, tuple(skipped), frozenset(damaged))


def disown(root: Path, owner: str, first: bool) -> frozenset[str]:
    """Digests of the checkpoints that were there before ``owner`` first asked, if not now. Later it gets the same."""
    note = root / f".before-{owner}"
    try:
        if first or not note.exists():
            root.mkdir(parents=True, exist_ok=True)
            _write_bytes(note, "\n".join(stored.digest for stored in complete(root)).encode())
        return frozenset(note.read_text().split())
    except OSError as error:
        raise CheckpointStorage(f"the checkpoint directory {root} cannot be written: {error.strerror}") from error


def _take_over(root: Path, run: str) -> None:
    """Runs are listed in the order in which they came, and the last one writes."""
    listed = _writers(root)
    if run not in listed:
        _write_bytes(root / f"{WRITERS}.tmp", "\n".join([*listed, run]).encode())
        os.rename(root / f"{WRITERS}.tmp", root / WRITERS)
    must_write(root, run)


def must_write(root: Path, run: str) -> None:
    """Raise ``Superseded`` where another run took over from ``run``.

    Processes on a node that nobody can reach go on for as long as they like. They must not replace or prune the
    checkpoints of the attempt that was begun without them.
    """
    try:
        listed = _writers(root)
    except OSError as error:
        raise CheckpointStorage(f"the checkpoint directory {root} cannot be read: {error.strerror}") from error
    if listed and listed[-1] != run:
        raise Superseded(f"run {listed[-1]} writes its checkpoints to {root} now; {run} must not any more")


def _writers(root: Path) -> list[str]:
    try:
        return (root / WRITERS).read_text().splitlines()
    except FileNotFoundError:
        return []


def rank(kept: list[Stored], metric: str, mode: str) -> list[Stored]:
    """Checkpoints that have the metric, best first; of equals the newer."""
    sign = 1.0 if mode == "min" else -1.0
    measured = [stored for stored in kept if metric in stored.manifest.metrics]
    return sorted(measured, key=lambda stored: (sign * stored.manifest.metrics[metric], -stored.step))


def surplus(kept: list[Stored], last: int, best: list[Stored]) -> list[Stored]:
    """What pruning removes: all but the ``last`` newest and the ``best``. The newest always stays."""
    newest = sorted(kept, key=lambda stored: -stored.step)[: max(1, last)]
    stay = {stored.path for stored in (*newest, *best)}
    return [stored for stored in kept if stored.path not in stay]


def remove(stored: Stored) -> None:
    """Delete a checkpoint, manifest first, so that a half-deleted one is none."""
    from leyden_contract.manifest import MANIFEST_NAME

    try:
        (stored.path / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(stored.path)
    except OSError as error:
        raise CheckpointStorage(f"the old checkpoint {stored.path} cannot be removed: {error.strerror}") from error
