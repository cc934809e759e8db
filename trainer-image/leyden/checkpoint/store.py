"""Checkpoint directories: written whole or not at all, verified before use, pruned without loss.

Nothing here knows about training; contents go in and come out as plain dicts of tensors and values. A local directory
appears by being renamed. An object store cannot rename, so there the manifest, which comes last, is what counts.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from leyden.checkpoint.content import Content, put, sha256, sync_directory, write_content
from leyden.checkpoint.places import Place, Url, remove_tree, size, storage
from leyden.errors import CheckpointCorrupt, CheckpointStorage, Superseded
from leyden_contract.layout import (
    MANIFEST_NAME,
    PINNED_NAME,
    SERVED_NAME,
    complete_steps,
    digest_of,
    parse_step,
    step_directory,
)

if TYPE_CHECKING:
    from leyden_contract.manifest import FileEntry, Manifest

WEIGHTS = "weights.pt"
STATE = "state.pt"
SHARD = "shard-"
NOTHING: Mapping[str, Any] = MappingProxyType({})
WRITERS = ".writers"
MARKERS = (PINNED_NAME, SERVED_NAME)
UNFINISHED = ".tmp-"
REPLACED = ".old-"


@dataclass(frozen=True)
class Stored:
    """A complete checkpoint."""

    path: Place
    manifest: Manifest
    digest: str

    @property
    def step(self) -> int:
        return self.manifest.step

    @property
    def pinned(self) -> bool:
        """Whether someone has marked it to stay, or a service uses it."""
        return any((self.path / name).is_file() for name in MARKERS)

    def file(self, name: str) -> Place | None:
        """Where a file of the checkpoint is; ``None`` where it has no such file."""
        found = next((entry for entry in self.manifest.files if entry.rsplit("/", 1)[-1] == name), None)
        return self.path / found if found is not None else None


@dataclass(frozen=True)
class Draft:
    """A checkpoint that is being written; no reader takes it for one yet."""

    root: Place
    step: int
    place: Place
    """Where its files go."""


def write(
    root: Place,
    contents: Mapping[str, Content],
    facts: dict[str, Any],
    run: str = "",
    draft: Draft | None = None,
    there: Mapping[str, FileEntry] = NOTHING,
) -> Stored:
    """Write a checkpoint: ``contents`` by file name (see ``Content``), ``facts`` for the manifest (all but ``files``).

    ``draft`` is one that others have begun, and ``there`` the files that they have added to it.
    A checkpoint of the same step is replaced. Raises ``CheckpointStorage``, and then leaves what was there as it was;
    ``Superseded`` where another than ``run`` writes here now.
    """
    must_write(root, run)
    draft = draft or begin(root, facts["step"])
    try:
        files = {**there, **add(draft, contents)}
        must_write(root, run)
        return commit(draft, files, facts)
    except (CheckpointStorage, Superseded):
        abandon(draft)
        raise


def abandon(draft: Draft) -> None:
    """Leave nothing of a draft. On an object store its files go with the next checkpoint of the step."""
    if isinstance(draft.place, Path):
        shutil.rmtree(draft.place, ignore_errors=True)


def begin(root: Place, step: int) -> Draft:
    """Make the place for a new checkpoint's files. One process does this."""
    final = root / step_directory(step)
    with _storing(root, step):
        if isinstance(final, Url):
            # Beside the files of the checkpoint that it replaces, which stays whole until the new manifest is there.
            beside = (final / MANIFEST_NAME).exists()
            return Draft(root, step, final / secrets.token_hex(4) if beside else final)
        unfinished = final.with_name(f"{UNFINISHED}{final.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        return Draft(root, step, unfinished)


def add(draft: Draft, contents: Mapping[str, Content]) -> dict[str, FileEntry]:
    """Write files of a checkpoint; every process may add its own. Returns their entries for the manifest."""
    with _storing(draft.root, draft.step):
        return {name: write_content(draft.place / name, content) for name, content in contents.items()}


def commit(draft: Draft, files: dict[str, FileEntry], facts: dict[str, Any]) -> Stored:
    """Make a checkpoint of all the files that were added, as one process does in the end."""
    from leyden_contract.manifest import Manifest

    unfinished, final = draft.place, draft.root / step_directory(draft.step)
    if isinstance(unfinished, Url) and unfinished != final:
        files = {f"{unfinished.name}/{name}": entry for name, entry in files.items()}
        exports = {kind: f"{unfinished.name}/{name}" for kind, name in facts.get("exports", {}).items()}
        facts = {**facts, "exports": exports}
    manifest = Manifest(files=files, **facts)
    text = manifest.model_dump_json(indent=2).encode()
    stored = Stored(final, manifest, digest_of(text))
    with _storing(draft.root, draft.step):
        if isinstance(unfinished, Path) and isinstance(final, Path):
            put(unfinished / MANIFEST_NAME, text)
            _put_in_place(unfinished, final)
        else:
            put(final / MANIFEST_NAME, text)
            _remove_strays(stored)
    return stored


def _storing(root: Place, step: int) -> AbstractContextManager[None]:
    return storage(f"the checkpoint of step {step} cannot be written to {root}", "; earlier checkpoints are untouched")


def _put_in_place(unfinished: Path, final: Path) -> None:
    old = final.parent / f"{REPLACED}{final.name}"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        if (final / PINNED_NAME).exists():
            shutil.copyfile(final / PINNED_NAME, unfinished / PINNED_NAME)
        os.rename(final, old)
    os.rename(unfinished, final)
    sync_directory(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_strays(stored: Stored) -> None:
    """Delete what a checkpoint's folder in an object store holds beside its files: those of the one it replaced."""
    stay = {MANIFEST_NAME, *MARKERS, *(name.split("/")[0] for name in stored.manifest.files)}
    for entry in stored.path.iterdir():
        if entry.name not in stay:
            remove_tree(entry)


def prepare(root: Place, run: str = "") -> None:
    """Make the directory of a run's checkpoints, prove that it can be written, and clear what a killed writer left.

    Unfinished directories go, a checkpoint caught in replacement comes back. ``run``: becomes the one that writes here.
    Raises ``CheckpointStorage``: better before the first step than after an epoch; and ``Superseded``.
    """
    with storage(f"the checkpoint directory {root} cannot be written"):
        root.mkdir(parents=True, exist_ok=True)
        if run:
            _take_over(root, run)
        put(root / f"{UNFINISHED}probe", b"")
        entries: list[Place] = list(root.iterdir())
        for entry in entries:
            with suppress(FileNotFoundError):  # its writer, who was given up and lives yet, was done with it
                _clear(root, entry)


def _clear(root: Place, entry: Place) -> None:
    original = entry.name.removeprefix(REPLACED)
    if isinstance(entry, Path) and entry.name != original and not (root / original).exists():
        os.rename(entry, entry.with_name(original))
    elif isinstance(entry, Path) and entry.name.startswith((UNFINISHED, REPLACED)):
        # Under another name first: a process that nobody can reach may still be putting files into it.
        doomed = entry.rename(entry.with_name(f"{UNFINISHED}{secrets.token_hex(4)}"))
        doomed.unlink() if doomed.is_file() else shutil.rmtree(doomed)
    elif isinstance(entry, Url) and entry.name.startswith(UNFINISHED):
        entry.unlink()
    elif isinstance(entry, Url) and parse_step(entry.name) is not None and not (entry / MANIFEST_NAME).exists():
        remove_tree(entry)


def inspect(path: Place) -> Stored:
    """The manifest of a checkpoint directory. Raises ``CheckpointCorrupt`` where there is none that can be read."""
    from pydantic import ValidationError

    from leyden_contract.manifest import Manifest

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
            if (found := size(path)) != entry.size:
                raise CheckpointCorrupt(f"{stored.path.name}: {name} has {found} bytes instead of {entry.size}")
            if sha256(path) != entry.sha256:
                raise CheckpointCorrupt(f"{stored.path.name}: {name} does not have the SHA-256 of its manifest")
        except OSError as error:
            raise CheckpointCorrupt(f"{stored.path.name}: {name} cannot be read: {error.strerror}") from error


def read(path: Place, map_location: Any = None) -> dict[str, Any]:
    """A checkpoint directory as one dict, under Lightning's keys. Only plain values and tensors are read."""
    stored = inspect(path)
    contents = {"state_dict": _load(stored, WEIGHTS, map_location), **_load(stored, STATE, map_location)}
    ranks = sum(entry.rsplit("/", 1)[-1].startswith(SHARD) for entry in stored.manifest.files)
    if not ranks:
        return contents
    from leyden.checkpoint.shards import join

    whole: dict[str, Any] = join(
        contents, [_load(stored, shard_name(rank, ranks), map_location) for rank in range(ranks)]
    )
    return whole


def shard_name(rank: int, ranks: int) -> str:
    """The file of a rank's shards."""
    return f"{SHARD}{rank:05d}-of-{ranks:05d}.pt"


def _load(stored: Stored, name: str, map_location: Any) -> dict[str, Any]:
    place = stored.file(name)
    if place is None:
        raise CheckpointCorrupt(f"{stored.path.name}: the manifest lists no {name}")
    with storage(f"the checkpoint {stored.path} cannot be read"), place.open("rb") as file:
        content: dict[str, Any] = torch.load(file, map_location=map_location, weights_only=True)
    return content


def complete(root: Place, ignored: frozenset[str] = frozenset()) -> list[Stored]:
    """All checkpoints with a valid manifest but those with an ``ignored`` digest, newest first; files not verified."""
    found = []
    for step in _steps(root):
        try:
            found.append(inspect(root / step_directory(step)))
        except CheckpointCorrupt:
            continue  # no reader takes it; choosing what to resume from says why
    return [stored for stored in found if stored.digest not in ignored]


def _steps(root: Place) -> list[int]:
    with storage(f"the checkpoint directory {root} cannot be read"):
        return complete_steps(root)


@dataclass(frozen=True)
class Choice:
    """What a run starts from, and why newer checkpoints were passed over."""

    stored: Stored | None
    skipped: tuple[str, ...] = ()
    damaged: frozenset[str] = frozenset()
    """Digests of those passed over, as far as their manifests can be read."""


def choose(root: Place, step: int | None = None, ignored: frozenset[str] = frozenset()) -> Choice:
    """The newest checkpoint (or that of ``step``) whose files are whole."""
    skipped: list[str] = []
    damaged: set[str] = set()
    for candidate in _steps(root) if step is None else [step]:
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


def disown(root: Place, owner: str, first: bool) -> frozenset[str]:
    """Digests of the checkpoints that were there before ``owner`` first asked, if not now. Later it gets the same."""
    note = root / f".before-{owner}"
    with storage(f"the checkpoint directory {root} cannot be written"):
        if first or not note.exists():
            root.mkdir(parents=True, exist_ok=True)
            put(note, "\n".join(stored.digest for stored in complete(root)).encode())
        return frozenset(note.read_bytes().decode().split())


def _take_over(root: Place, run: str) -> None:
    """Runs are listed in the order in which they came, and the last one writes."""
    listed = _writers(root)
    if run not in listed:
        put(root / WRITERS, "\n".join([*listed, run]).encode())
    must_write(root, run)


def must_write(root: Place, run: str) -> None:
    """Raise ``Superseded`` where another run took over from ``run``; one without a name takes its chances.

    Processes on a node that nobody can reach go on for as long as they like. They must not replace or prune the
    checkpoints of the attempt that was begun without them.
    """
    with storage(f"the checkpoint directory {root} cannot be read"):
        listed = _writers(root) if run else []
    if listed and listed[-1] != run:
        raise Superseded(f"run {listed[-1]} writes its checkpoints to {root} now; {run} must not any more")


def _writers(root: Place) -> list[str]:
    note = root / WRITERS
    return note.read_bytes().decode().splitlines() if note.exists() else []


def rank(kept: list[Stored], metric: str, mode: str) -> list[Stored]:
    """Checkpoints that have the metric, best first; of equals the newer."""
    sign = 1.0 if mode == "min" else -1.0
    measured = [stored for stored in kept if metric in stored.manifest.metrics]
    return sorted(measured, key=lambda stored: (sign * stored.manifest.metrics[metric], -stored.step))


def surplus(kept: list[Stored], last: int, best: list[Stored]) -> list[Stored]:
    """What pruning removes: all but the ``last`` newest and the ``best``. The newest always stays."""
    newest = sorted(kept, key=lambda stored: -stored.step)[: max(1, last)]
    stay = {stored.step for stored in (*newest, *best)}
    return [stored for stored in kept if stored.step not in stay]


def mark_served(kept: list[Stored], digests: frozenset[str]) -> None:
    """Mark the checkpoints that services use, and no others. The marks outlive this run, which may die at any time."""
    with storage("the marks of the checkpoints that services use cannot be written"):
        for stored in kept:
            marker = stored.path / SERVED_NAME
            if stored.digest not in digests:
                marker.unlink(missing_ok=True)
            elif not marker.is_file():
                put(marker, b"")


def remove(stored: Stored) -> None:
    """Delete a checkpoint, manifest first, so that a half-deleted one is none. One that is pinned stays."""
    with storage(f"the old checkpoint {stored.path} cannot be removed"):
        if not stored.pinned:
            (stored.path / MANIFEST_NAME).unlink(missing_ok=True)
            remove_tree(stored.path)
