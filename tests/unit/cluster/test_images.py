"""Images as files, and which of them stay."""

import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path

import pytest

from leyden_cluster import distribution
from leyden_cluster.distribution import outdated
from leyden_cluster.oci import Layout, write_scratch_image
from leyden_cluster.settings import ClusterError

NAME = "localhost/leyden/thing:1"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "program").write_bytes(b"\x7fELF")
    made = Layout(tmp_path / "layout")
    write_scratch_image(made, NAME, {"/program": tmp_path / "program"}, ["/program"])
    return made


def packed(layout: Layout, present: Collection[str]) -> tarfile.TarFile:
    target = io.BytesIO()
    layout.pack(NAME, present, target)
    return tarfile.open(fileobj=io.BytesIO(target.getvalue()))


def test_pack_writes_everything_for_an_empty_store(layout: Layout) -> None:
    blobs = {f"blobs/{digest.replace(':', '/')}" for digest in layout.digests(NAME)}
    assert set(packed(layout, ()).getnames()) == {"oci-layout", "index.json", *blobs}


def test_pack_leaves_out_the_blobs_that_are_there_already(layout: Layout) -> None:
    manifest, config, layer = layout.digests(NAME)
    names = packed(layout, {layer, config}).getnames()
    assert names == ["oci-layout", f"blobs/{manifest.replace(':', '/')}", "index.json"]
    assert layout.missing_bytes(NAME, {layer, config}) == layout.blob(manifest).stat().st_size


def test_the_pack_names_its_image_for_containerd(layout: Layout) -> None:
    index = packed(layout, ()).extractfile("index.json")
    assert index is not None
    entries = json.load(index)["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [NAME]


def test_an_unknown_image_is_named(layout: Layout) -> None:
    with pytest.raises(ClusterError, match="no image other"):
        layout.manifest("other")


def test_keep_removes_other_images_and_only_their_blobs(layout: Layout) -> None:
    (layout.directory / "blobs" / "sha256" / "stray").touch()
    layout.keep([NAME, "unknown"])
    assert layout.names() == {NAME}
    assert {path.name for path in (layout.directory / "blobs" / "sha256").iterdir()} == {
        digest.removeprefix("sha256:") for digest in layout.digests(NAME)
    }
    layout.keep([])
    assert not list((layout.directory / "blobs" / "sha256").iterdir())


@pytest.mark.parametrize(
    ("history", "present", "gone"),
    [
        pytest.param(["a:1", "a:2"], ["a:1", "a:2"], [], id="two-tags-stay"),
        pytest.param(["a:1", "a:2", "a:3"], ["a:1", "a:2", "a:3"], ["a:1"], id="the-oldest-goes"),
        pytest.param(["a:2", "a:3", "a:1"], ["a:1", "a:2", "a:3"], ["a:2"], id="what-was-loaded-last-is-newest"),
        pytest.param(["a:1", "b:1", "b:2", "b:3"], ["a:1", "b:1"], ["b:1"], id="repositories-are-counted-apart"),
        pytest.param(["a:1", "a:2", "a:3"], ["a:dev"], [], id="the-moving-tag-stays"),
        pytest.param(["a:1", "a:2", "a:3"], ["c:1", "sha256:1"], [], id="what-was-never-loaded-stays"),
    ],
)
def test_outdated(history: list[str], present: list[str], gone: list[str]) -> None:
    assert outdated(history, present) == gone


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"GB free; a:1 needs 1000000002\.0 GB"):
        distribution.check_room(tmp_path, 10**18, "a:1")
