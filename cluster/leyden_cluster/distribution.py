"""Images from buildah's storage into the seed, and from there into every node."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from leyden_cluster import images, mounts, node, processes
from leyden_cluster.binaries import Binaries
from leyden_cluster.control_plane import ControlPlane
from leyden_cluster.images import Store, seed_directory, seed_store
from leyden_cluster.oci import Layout
from leyden_cluster.settings import ClusterError, Node, cache_directory

Say = Callable[[str], None]
KEPT_TAGS = 2
"""How many tags of a repository stay, the newest ones; ``MOVING`` always does."""
MOVING = ":dev"
BIG = 500_000_000
"""From this many missing bytes on, an idle node gets a new copy of the seed and no import."""
SPARE_BYTES = 2_000_000_000


def load(names: list[str], plane: ControlPlane, running: list[Node], present: list[Node], say: Say) -> None:
    """Bring images into the seed and every node; a node that is down gets a new copy of the seed.

    Raises:
        ClusterError: no such image, no room on the disk, or containerd refused one.
    """
    binaries, layout = Binaries(plane.binaries), Layout(cache_directory() / "oci")
    with seed_store(binaries) as seed:
        for name in names:
            if name in seed.images() and not name.endswith(MOVING):
                say(f"{name} is in the seed")
                continue
            _export(layout, name, say)
            _load_into(seed, layout, name, "the seed", say)
            _remember(name)
        seed.forget(outdated(_history(), seed.images()))
        wanted = seed.images()
    layout.directory.mkdir(parents=True, exist_ok=True)
    share_blobs(layout)
    for each in present:
        if each in running:
            _complete(each, plane, layout, {name: wanted[name] for name in names}, say)
        else:
            say(f"copying the seed to {each.name}, which is down")
            _replace_store(each, plane)
    layout.keep(wanted)


def _complete(each: Node, plane: ControlPlane, layout: Layout, wanted: dict[str, str], say: Say) -> None:
    """Give a running node the images (name -> digest) that it lacks."""
    store = Store(Binaries(plane.binaries), each.socket)
    there, blobs = store.images(), store.blobs()
    lacking = [name for name, digest in wanted.items() if there.get(name) != digest]
    if not lacking:
        say(f"{each.name} has them")
        return
    for name in set(lacking) - layout.names():
        _export(layout, name, say)
    if sum(layout.missing_bytes(name, blobs) for name in lacking) > BIG and not store.has_user_containers():
        say(f"restarting {each.name}, which is idle, with a copy of the seed")
        node.stop(each, plane)
        _replace_store(each, plane)
        node.start(each, plane)
        return
    for name in lacking:
        _load_into(store, layout, name, each.name, say)
    store.forget(outdated(_history(), store.images()))


def _replace_store(each: Node, plane: ControlPlane) -> None:
    """Forget a stopped node's containers and images, with the addresses that its pods had, and copy the seed."""
    mounts.unmount_under(each.directory)
    for folder in ("containerd", "state", "ipam"):
        shutil.rmtree(each.directory / folder, ignore_errors=True)
    node.configure(each, plane)
    images.clone_seed(each)


def _export(layout: Layout, name: str, say: Say) -> None:
    """Take an image from buildah's storage. Blobs that are there already are not written again."""
    layout.directory.mkdir(parents=True, exist_ok=True)
    check_room(layout.directory, 0, name)
    say(f"exporting {name}")
    # Uncompressed, as containers-storage knows its layers: those that the layout has are not read again.
    copy = ("skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers")
    processes.run(*copy, f"containers-storage:{name}", f"oci:{layout.directory}:{name}")


def _load_into(store: Store, layout: Layout, name: str, where: str, say: Say) -> None:
    # Each layer is kept as it came and once more unpacked.
    check_room(layout.directory, 2 * layout.missing_bytes(name, store.blobs()), name)
    say(f"loading {name} into {where}")
    store.load(layout, name)


def check_room(directory: Path, needed: int, name: str) -> None:
    """Refuses what would fill the disk."""
    free = shutil.disk_usage(directory).free
    if free < needed + SPARE_BYTES:
        raise ClusterError(
            f"{directory} has {free / 1e9:.1f} GB free; "
            f"{name} needs {(needed + SPARE_BYTES) / 1e9:.1f} GB. Remove images that are not needed: `buildah images`."
        )


def outdated(history: list[str], present: Iterable[str]) -> list[str]:
    """Images of the repositories in ``history`` (names, oldest first) that are no longer among their newest."""
    tags: dict[str, list[str]] = {}
    for name in history:
        tags.setdefault(_repository(name), []).append(name)
    return sorted(
        name
        for name in present
        if name not in tags.get(_repository(name), [name])[-KEPT_TAGS:] and not name.endswith(MOVING)
    )


def _repository(name: str) -> str:
    return name.rpartition(":")[0]


def _history() -> list[str]:
    """Names in the order in which they were loaded, each once, ``MOVING`` tags left out."""
    path = seed_directory() / "loaded.json"
    return list(json.loads(path.read_text())) if path.exists() else []


def _remember(name: str) -> None:
    if name.endswith(MOVING):
        return
    part = seed_directory() / "loaded.part"
    part.write_text(json.dumps([*(known for known in _history() if known != name), name]))
    part.rename(seed_directory() / "loaded.json")


def share_blobs(layout: Layout) -> None:
    """Let the layout's blobs be the seed's, so that the same gigabytes are not on the disk twice."""
    content = seed_directory() / "io.containerd.content.v1.content" / "blobs" / "sha256"
    for blob in (layout.directory / "blobs" / "sha256").glob("*"):
        twin = content / blob.name
        if twin.exists() and not twin.samefile(blob):
            blob.unlink()
            blob.hardlink_to(twin)
