"""The operating system's image where no registry answers: debootstrap, made as small as Debian's own slim image."""

import shutil
import tempfile
from pathlib import Path

from leyden_images.parts import DEBIAN, LABEL
from leyden_images.shell import output, run

# Documentation and translations, but for the licences. They hold for later packages too, through dpkg's settings.
LEFT_OUT = ("doc/*", "groff/*", "info/*", "linda/*", "lintian/*", "locale/*", "man/*")
SETTINGS = {
    "etc/dpkg/dpkg.cfg.d/slim": "".join(f"path-exclude /usr/share/{each}\n" for each in LEFT_OUT)
    + "path-include /usr/share/doc/*/copyright\n",
    "etc/apt/apt.conf.d/slim": 'Acquire::Languages "none";\nAPT::AutoRemove::SuggestsImportant "false";\n',
}
CACHES = ("var/cache/apt", "var/cache/debconf", "var/lib/apt/lists", "var/log")


def make() -> None:
    """Make the Debian image under its usual name. Needs root.

    Raises:
        BuildError: debootstrap or buildah is missing or failed.
    """
    with tempfile.TemporaryDirectory(prefix="leyden-debian-") as made:
        root = Path(made)
        run("debootstrap", "--variant=minbase", "bookworm", made)
        root.chmod(0o755)
        slim(root)
        container = output("buildah", "from", "scratch")
        run("buildah", "add", "--quiet", container, made, "/")
        run("buildah", "config", "--cmd", "/bin/bash", "--label", f"{LABEL}=debian", container)
        run("buildah", "commit", "--quiet", "--rm", container, DEBIAN)


def slim(root: Path) -> None:
    """Remove what an image does not need from a fresh root file system, and keep packages from bringing it back."""
    for name, text in SETTINGS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for pattern in LEFT_OUT:
        for path in sorted((root / "usr/share" / pattern).parent.rglob("*"), reverse=True):
            _remove(path, keep="copyright")
    for name in CACHES:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)


def _remove(path: Path, keep: str) -> None:
    """Remove a file, a link or an empty directory, unless it has the name to keep."""
    if path.is_dir() and not path.is_symlink():
        if not any(path.iterdir()):
            path.rmdir()
    elif path.name != keep:
        path.unlink()
