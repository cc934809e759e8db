"""``python3 -m leyden_images``: images and the development environment."""

import argparse
import json
import subprocess
import sys
import time

from leyden_images import build
from leyden_images.environment import environment, libraries, peers
from leyden_images.parts import PARTS
from leyden_images.shell import BuildError

BEGAN = time.monotonic()


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the answer alone."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("leyden_images", description=__doc__)
    top.add_argument("--engine", choices=build.ENGINES, help="default: docker where it answers, else podman, buildah")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    builds = commands.add_parser("build", help="build what changed")
    builds.add_argument("--load", action="store_true", help="and bring it into the local cluster")
    commands.add_parser("names", help="print the image names as JSON").add_argument("--json", action="store_true")
    push = commands.add_parser("push", help="send the images to a registry")
    push.add_argument("registry", help="such as registry.example.com/leyden")
    commands.add_parser("clean", help="remove older images than the current and the one before, and unnamed ones")
    commands.add_parser("venv", help="make the development environment and print its path")
    commands.add_parser("peers", help="install what Leyden is compared with and print the folder's path")
    commands.add_parser("libraries", help="install libraries written for Lightning and print the folder's path")
    for command in (builds, push):
        command.add_argument("part", nargs="*", type=part, help=f"of {', '.join(PARTS)}; default: all")
    return top


def part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"there is no image {text!r}; there are {', '.join(PARTS)}")
    return text


def main() -> int:
    arguments = parser().parse_args()
    try:
        act(arguments)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def act(arguments: argparse.Namespace) -> None:
    names = getattr(arguments, "part", None) or list(PARTS)
    match arguments.command:
        case "names":
            print(json.dumps({name: each.image for name, each in PARTS.items()}))
        case "venv":
            print(environment(say))
        case "peers":
            print(peers(say))
        case "libraries":
            print(libraries(say))
        case "build":
            images = build.build(names, build.choose_engine(arguments.engine), say)
            if arguments.load:
                load(images)
        case "push":
            engine = build.choose_engine(arguments.engine)
            build.build(names, engine, say)
            build.push(names, engine, arguments.registry)
        case "clean":
            build.clean(build.choose_engine(arguments.engine), say)


def load(images: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-m", "leyden_cluster", "load", *images], check=False)
    if ran.returncode:
        raise BuildError("The images could not be loaded into the cluster.")


if __name__ == "__main__":
    sys.exit(main())
