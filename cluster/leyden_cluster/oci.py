"""OCI images as files: reading a layout, writing a small image from scratch, and packing what a store lacks."""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from leyden_cluster.settings import ClusterError

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Layout:
    """An OCI image layout: a folder of blobs by digest, and an index of named manifests."""

    directory: Path

    def blob(self, digest: str) -> Path:
        return self.directory / "blobs" / digest.replace(":", "/")

    def manifest(self, name: str) -> dict[str, Any]:
        """The index entry of a name.

        Raises:
            ClusterError: the layout has no such image.
        """
        entries: list[dict[str, Any]] = json.loads((self.directory / "index.json").read_text())["manifests"]
        found = [entry for entry in entries if entry.get("annotations", {}).get(REF_NAME) == name]
        if not found:
            raise ClusterError(f"There is no image {name} in {self.directory}.")
        return found[-1]

    def digests(self, name: str) -> list[str]:
        """Digests of the manifest, the configuration and the layers of an image, in this order."""
        entry = self.manifest(name)
        manifest = json.loads(self.blob(entry["digest"]).read_text())
        return [entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def pack(self, name: str, present: Collection[str], target: IO[bytes]) -> None:
        """Write a tar that a store which has the ``present`` blobs can import."""
        entry = self.manifest(name)
        entry = {**entry, "annotations": {REF_NAME: name, IMAGE_NAME: name}}
        with tarfile.open(fileobj=target, mode="w|") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            for digest in self.digests(name):
                if digest not in present:
                    archive.add(self.blob(digest), f"blobs/{digest.replace(':', '/')}")
            index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
            _add(archive, "index.json", json.dumps(index).encode())

    def missing_bytes(self, name: str, present: Collection[str]) -> int:
        """Size of the blobs of an image that a store with the ``present`` ones lacks."""
        return sum(self.blob(digest).stat().st_size for digest in self.digests(name) if digest not in present)

    def names(self) -> set[str]:
        index = self.directory / "index.json"
        entries = json.loads(index.read_text())["manifests"] if index.exists() else []
        return {entry.get("annotations", {}).get(REF_NAME, "") for entry in entries}

    def keep(self, names: Collection[str]) -> None:
        """Remove all other images, and the blobs that no image needs."""
        kept = self.names() & set(names)
        needed = {self.blob(digest).name for name in kept for digest in self.digests(name)}
        index = {"schemaVersion": 2, "manifests": [self.manifest(name) for name in sorted(kept)]}
        part = self.directory / "index.part"
        part.write_text(json.dumps(index))
        part.rename(self.directory / "index.json")
        for blob in (self.directory / "blobs" / "sha256").iterdir():
            if blob.name not in needed:
                blob.unlink()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def write_scratch_image(layout: Layout, name: str, files: dict[str, Path], entrypoint: list[str]) -> None:
    """Write an image that holds nothing but ``files`` (path in the image -> file here, all executable)."""
    blobs = layout.directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    part = blobs / ".layer.part"
    with tarfile.open(part, "w") as archive:
        for path, source in sorted(files.items()):
            entry = archive.gettarinfo(source.resolve(), arcname=path.lstrip("/"))
            entry.mode, entry.uid, entry.gid, entry.mtime, entry.uname, entry.gname = 0o755, 0, 0, 0, "", ""
            with source.open("rb") as content:
                archive.addfile(entry, content)
    layer = _keep(part, blobs)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    described = _blob(blobs, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, **described},
        "layers": [{"mediaType": LAYER_TYPE, **layer}],
    }
    entry_ = {"mediaType": MANIFEST_TYPE, **_blob(blobs, manifest), "annotations": {REF_NAME: name}}
    (layout.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry_]}))


def _blob(blobs: Path, content: object) -> dict[str, Any]:
    part = blobs / ".json.part"
    part.write_text(json.dumps(content, sort_keys=True))
    return _keep(part, blobs)


def _keep(part: Path, blobs: Path) -> dict[str, Any]:
    """Give a file its digest's name; its size and digest are the answer."""
    digest, size = hashlib.sha256(), part.stat().st_size
    for chunk in _chunks(part):
        digest.update(chunk)
    part.rename(blobs / digest.hexdigest())
    return {"digest": f"sha256:{digest.hexdigest()}", "size": size}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as content:
        while chunk := content.read(1 << 20):
            yield chunk
