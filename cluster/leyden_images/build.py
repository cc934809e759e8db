"""Builds images with docker, podman or buildah, and only those whose inputs changed."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from leyden_images.parts import DEBIAN, PARTS, ROOT, Part
from leyden_images.shell import BuildError, output, run

ENGINES = ("docker", "podman", "buildah")
CERTIFICATES = "/run/build-certificates.crt"
FREE_GIGABYTES = 20
PULL_SECONDS = "20"

Say = Callable[[str], None]


def choose_engine(asked: str | None) -> str:
    """The engine asked for, else Docker where it answers, else podman or buildah.

    Raises:
        BuildError: none of them is here.
    """
    if asked:
        return asked
    if shutil.which("docker") and output("docker", "info", "--format", "{{.ID}}"):
        return "docker"
    for name in ("podman", "buildah"):
        if shutil.which(name):
            return name
    raise BuildError(f"Building images needs one of {', '.join(ENGINES)}; `make prerequisites` installs buildah.")


def build(names: list[str], engine: str, say: Say) -> list[str]:
    """Build the named parts and their base where their inputs changed; answers the image names."""
    parts = [PARTS[name] for name in names]
    wanted = dict.fromkeys([part.base for part in parts if part.base] + parts)
    missing = [part for part in wanted if not exists(engine, part.image)]
    if missing:
        _check_disk()
        _ensure_debian(engine, say)
    for part in missing:
        say(f"building {part.image}")
        run(*build_command(part, engine, dict(os.environ), _revision()))
        run(engine, "tag", part.image, f"{part.image.rpartition(':')[0]}:dev")
    for part in wanted:
        say(f"{part.image} is there")
    return [part.image for part in parts]


def exists(engine: str, image: str) -> bool:
    return bool(output(engine, "inspect", "--type", "image", "--format", "-", image))


def build_command(part: Part, engine: str, environ: dict[str, str], revision: str) -> list[str]:
    """The command line that builds a part. Pure.

    buildah runs without a daemon and without user namespaces (``chroot``), with the machine's network and the
    certificates that ``SSL_CERT_FILE`` names.
    """
    arguments = {"DEBIAN": DEBIAN, "VERSION": part.key(), "REVISION": revision}
    if part.base:
        arguments["BASE"] = part.base.image
    command = [engine, "build", "--file", str(ROOT / part.containerfile), "--tag", part.image]
    if engine != "docker":
        command += ["--layers", "--isolation", "chroot", "--network", "host"]
        if (bundle := environ.get("SSL_CERT_FILE")) and Path(bundle).is_file():
            # Under a name of its own: /etc/ssl/certs belongs to the image's packages.
            command += ["--volume", f"{bundle}:{CERTIFICATES}:ro"]
            arguments |= {"SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES}
    for name, value in sorted(arguments.items()):
        command += ["--build-arg", f"{name}={value}"]
    return [*command, str(ROOT)]


def _revision() -> str:
    return output("git", "-C", str(ROOT), "rev-parse", "HEAD") or "unknown"


def _check_disk() -> None:
    place = Path("/var/lib")
    if (free := shutil.disk_usage(place).free / 10**9) < FREE_GIGABYTES:
        raise BuildError(
            f"{place} has {free:.0f} GB free; images with torch need {FREE_GIGABYTES} GB while they are built."
        )


def _ensure_debian(engine: str, say: Say) -> None:
    """The operating system's image is there: pulled where a registry answers, else made by debootstrap."""
    if exists(engine, DEBIAN) or engine == "docker":
        return
    say(f"pulling {DEBIAN}")
    if output("timeout", PULL_SECONDS, engine, "pull", "--quiet", DEBIAN):
        return
    say("no registry answers: making the Debian image with debootstrap")
    with tempfile.TemporaryDirectory(prefix="leyden-debian-") as root:
        run("debootstrap", "--variant=minbase", "bookworm", root)
        shutil.rmtree(Path(root) / "var/cache/apt")
        container = output("buildah", "from", "scratch")
        run("buildah", "add", "--quiet", container, root, "/")
        run("buildah", "config", "--cmd", "/bin/bash", container)
        run("buildah", "commit", "--quiet", "--rm", container, DEBIAN)


def push(names: list[str], engine: str, registry: str) -> None:
    """Send images to a registry that a cluster pulls from."""
    for name in names:
        image = PARTS[name].image
        target = f"{registry}/{name}:{image.rpartition(':')[2]}"
        run(engine, "tag", image, target)
        run(engine, "push", target)


def clean(engine: str, say: Say) -> None:
    """Remove our images whose inputs changed since."""
    current = {part.image for part in PARTS.values()} | {part.base.image for part in PARTS.values() if part.base}
    listed = output(
        engine, "images", "--format", "{{.Name}}:{{.Tag}}" if engine == "buildah" else "{{.Repository}}:{{.Tag}}"
    )
    for image in listed.split():
        if "/leyden/" in image and not image.endswith(":dev") and image not in current:
            say(f"removing {image}")
            run(engine, "rmi", image)
