"""What is built from what, and the tag that follows from it. Pure but for reading the files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "localhost/leyden"
DEBIAN = "docker.io/library/debian:bookworm-slim"
# Every image of ours carries it, so that `clean` knows those that lost their names.
LABEL = "dev.leyden.part"
LOCK_OF_TOOLS = "requirements/build.txt"
INSTALL = "requirements/install"


@dataclass(frozen=True)
class Part:
    """One image: its Containerfile, the files it is made from, and whether it stands on the torch base."""

    name: str
    containerfile: str
    inputs: tuple[str, ...]
    base: "Part | None" = None

    @property
    def image(self) -> str:
        """Name and tag. The tag changes when anything that the image is made from does."""
        return f"{REGISTRY}/{self.name}:{self.key()}"

    def key(self) -> str:
        digest = hashlib.sha256(self.base.key().encode() if self.base else b"")
        for path in self.files():
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:12]

    def files(self) -> list[Path]:
        """Every file that goes in, sorted."""
        found: set[Path] = set()
        for name in (self.containerfile, LOCK_OF_TOOLS, INSTALL, *self.inputs):
            path = ROOT / name
            found |= {path} if path.is_file() else {each for each in path.rglob("*") if _counts(each)}
        return sorted(found)


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


CONTRACT = "contract/leyden_contract"
ENGINE = "trainer-image/leyden"
BASE = Part("torch-base", "trainer-image/Containerfile.base", ("requirements/torch.txt",))
PARTS = {
    "operator": Part(
        "operator",
        "operator/Containerfile",
        ("requirements/operator.txt", CONTRACT, "operator/leyden_operator", "operator/leyden_coordinator"),
    ),
    "trainer": Part("trainer", "trainer-image/Containerfile", ("requirements/trainer.txt", CONTRACT, ENGINE), BASE),
    "server": Part(
        "server",
        "server-image/Containerfile",
        ("requirements/server.txt", CONTRACT, ENGINE, "server-image/leyden_server"),
        BASE,
    ),
}
