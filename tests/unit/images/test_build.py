"""What is built how, and which images go."""

from pathlib import Path

import pytest

from leyden_images import build, parts
from leyden_images.parts import PARTS, Part


@pytest.mark.parametrize(
    ("engine", "isolated"),
    [
        pytest.param("docker", False, id="docker-has-a-daemon-that-isolates"),
        pytest.param("podman", True, id="podman-needs-no-user-namespaces"),
        pytest.param("buildah", True, id="buildah-needs-no-user-namespaces"),
    ],
)
def test_every_engine_gets_the_same_arguments(engine: str, isolated: bool) -> None:
    part = PARTS["trainer"]
    command = build.build_command(part, engine, {}, "abc")
    assert command[:2] == [engine, "build"]
    assert ("--isolation" in command) is isolated
    assert part.base is not None
    assert f"BASE={part.base.image}" in command
    assert "REVISION=abc" in command
    assert f"VERSION={part.key()}" in command
    assert f"{parts.LABEL}=trainer" in command
    assert command[-1] == str(parts.ROOT)


@pytest.mark.parametrize(
    ("engine", "exists", "mounted"),
    [
        pytest.param("buildah", True, True, id="certificates-reach-the-build"),
        pytest.param("buildah", False, False, id="a-bundle-that-is-not-there-is-left-out"),
        pytest.param("docker", True, False, id="docker-mounts-nothing"),
    ],
)
def test_certificates(tmp_path: Path, engine: str, exists: bool, mounted: bool) -> None:
    bundle = tmp_path / "bundle.crt"
    if exists:
        bundle.touch()
    command = build.build_command(PARTS["operator"], engine, {"SSL_CERT_FILE": str(bundle)}, "abc")
    assert (f"{bundle}:{build.CERTIFICATES}:ro" in command) is mounted
    assert (f"SSL_CERT_FILE={build.CERTIFICATES}" in command) is mounted


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    for name in ("Containerfile", parts.LOCK_OF_TOOLS, parts.INSTALL, "source/one.py", "source/__pycache__/one.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    return Part("example", "Containerfile", ("source",))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("Containerfile", True, id="its-containerfile"),
        pytest.param("source/one.py", True, id="a-source-file"),
        pytest.param("source/two.py", True, id="a-new-source-file"),
        pytest.param(parts.LOCK_OF_TOOLS, True, id="the-tools-that-install"),
        pytest.param("source/__pycache__/one.pyc", False, id="not-bytecode"),
        pytest.param("README.md", False, id="not-a-file-beside-it"),
    ],
)
def test_the_tag_follows_from_what_goes_in(tmp_path: Path, part: Part, name: str, changes: bool) -> None:
    before = part.image
    (tmp_path / name).write_text("after")
    assert (part.image != before) is changes


def test_the_tag_follows_from_the_base(tmp_path: Path, part: Part) -> None:
    above = Part("above", "Containerfile", (), part)
    before = above.key()
    (tmp_path / "source/one.py").write_text("after")
    assert above.key() != before


@pytest.mark.parametrize(
    ("listed", "removed"),
    [
        pytest.param(["a:3", "a:2", "a:1"], ["a:1"], id="the-current-and-the-one-before-stay"),
        pytest.param(["a:2", "a:1", "a:3"], ["a:1"], id="a-current-one-that-is-older-stays"),
        pytest.param(["a:3", "a:dev", "a:2"], [], id="the-moving-tag-is-none-of-them"),
        pytest.param(["a:3", "b:2", "b:1", "b:0"], ["b:1", "b:0"], id="each-name-by-itself"),
    ],
)
def test_stale(listed: list[str], removed: list[str]) -> None:
    ours = [f"{parts.REGISTRY}/{each}" for each in listed]
    foreign = ["docker.io/library/debian:1", "docker.io/library/debian:0", "example.com/leyden/a:1", "<none>:<none>"]
    assert build.stale(ours + foreign, [f"{parts.REGISTRY}/a:3"]) == [f"{parts.REGISTRY}/{each}" for each in removed]
