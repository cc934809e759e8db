"""Builds images with docker, podman or buildah, and only those whose inputs changed."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from leyden_images import debian
from leyden_images.parts import BASE, DEBIAN, LABEL, PARTS, REGISTRY, ROOT, Part
from leyden_images.shell import BuildError, Say, alone, output, run

ENGINES = ("docker", "podman", "buildah")
CERTIFICATES = "/run/build-certificates.crt"
# Free space in gigabytes that a build asks for: torch is unpacked, copied and committed, ours is small.
FREE_FOR_TORCH, FREE_FOR_OURS = 20, 2
PULL_SECONDS = "20"
STORAGE = {"docker": "{{.DockerRootDir}}", "podman": "{{.Store.GraphRoot}}", "buildah": "{{.store.GraphRoot}}"}


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
    """Build the named parts and their base where their inputs changed; answers the image names.

    Older images go after it, so that disks do not fill.
    """
    parts = [PARTS[name] for name in names]
    wanted = dict.fromkeys([part.base for part in parts if part.base] + parts)
    with alone("images", say):
        missing = [part for part in wanted if not exists(engine, part.image)]
        if missing:
            _check_disk(engine, FREE_FOR_TORCH if BASE in missing else FREE_FOR_OURS)
            _ensure_debian(engine, say)
        for part in missing:
            say(f"building {part.image}")
            run(*build_command(part, engine, dict(os.environ), _revision()))
            run(engine, "tag", part.image, f"{part.image.rpartition(':')[0]}:dev")
        if missing:
            _clean(engine, say)
    for part in wanted:
        say(f"{part.image} is there")
    return [part.image for part in parts]


def exists(engine: str, image: str) -> bool:
    field = "{{.FromImageID}}" if engine == "buildah" else "{{.Id}}"
    return bool(output(engine, "inspect", "--type", "image", "--format", field, image))


def build_command(part: Part, engine: str, environ: dict[str, str], revision: str) -> list[str]:
    """The command line that builds a part. Pure.

    buildah runs without a daemon and without user namespaces (``chroot``), with the machine's network and the
    certificates that ``SSL_CERT_FILE`` names.
    """
    arguments = {"DEBIAN": DEBIAN, "VERSION": part.key(), "REVISION": revision}
    if part.base:
        arguments["BASE"] = part.base.image
    command = [engine, "build", "--file", str(ROOT / part.containerfile), "--tag", part.image]
    command += ["--label", f"{LABEL}={part.name}"]
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


def _check_disk(engine: str, needed: int) -> None:
    place = output(engine, "info", "--format", STORAGE[engine])
    if not place:
        raise BuildError(f"`{engine} info` does not answer; is {engine} installed and running?")
    # Docker may keep its files in a machine of its own, where we cannot look.
    if Path(place).is_dir() and (free := shutil.disk_usage(place).free / 10**9) < needed:
        raise BuildError(f"{place} has {free:.1f} GB free; this build needs {needed} GB.")


def _ensure_debian(engine: str, say: Say) -> None:
    """The operating system's image is there: pulled where a registry answers, else made by debootstrap."""
    if exists(engine, DEBIAN) or engine == "docker":
        return
    say(f"pulling {DEBIAN}")
    if output("timeout", PULL_SECONDS, engine, "pull", "--quiet", DEBIAN):
        return
    say("no registry answers: making the Debian image with debootstrap")
    debian.make()


def push(names: list[str], engine: str, registry: str) -> None:
    """Send images to a registry that a cluster pulls from."""
    for name in names:
        image = PARTS[name].image
        target = f"{registry}/{name}:{image.rpartition(':')[2]}"
        run(engine, "tag", image, target)
        run(engine, "push", target)


def clean(engine: str, say: Say) -> None:
    """Remove our older images and those that lost their names; the current and the previous ones stay."""
    with alone("images", say):
        _clean(engine, say)


def _clean(engine: str, say: Say) -> None:
    name = "{{.Name}}" if engine == "buildah" else "{{.Repository}}"
    listed = output(engine, "images", "--format", f"{name}:{{{{.Tag}}}}").split()
    unnamed = output(engine, "images", "--quiet", "--filter", "dangling=true", "--filter", f"label={LABEL}").split()
    current = [image for part in PARTS.values() for image in (part.image, part.base.image if part.base else part.image)]
    for image in stale(listed, current) + unnamed:
        say(f"removing {image}")
        try:
            run(engine, "rmi", image)
        except BuildError as error:
            # A container still uses it; the next build tries again.
            say(f"{image} stays: {error}")


def stale(listed: Iterable[str], current: Iterable[str]) -> list[str]:
    """Of all images, newest first, those of ours that are neither current nor the newest before it. Pure."""
    kept = set(current)
    older: dict[str, list[str]] = defaultdict(list)
    for image in listed:
        name, _, tag = image.rpartition(":")
        if name.startswith(f"{REGISTRY}/") and tag != "dev" and image not in kept:
            older[name].append(image)
    return [image for images in older.values() for image in images[1:]]
