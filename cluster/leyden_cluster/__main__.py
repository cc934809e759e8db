"""``python3 -m leyden_cluster``: a real multi-node Kubernetes on this machine."""

import argparse
import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from leyden_cluster import binaries, lifecycle, prerequisites, state
from leyden_cluster.apiserver import start_apiserver
from leyden_cluster.settings import MAX_NODES, ClusterError, node_named, state_directory

BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("leyden_cluster", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    needs = commands.add_parser("prerequisites", help="check this machine; --install gets missing Debian packages")
    needs.add_argument("--install", action="store_true")
    commands.add_parser("build", help="build the binaries into the cache")
    which = commands.add_parser("which", help="print the path of a binary such as kubectl or helm")
    which.add_argument("name")
    up = commands.add_parser("up", help="start the cluster, or repair and complete the one that runs")
    up.add_argument("--nodes", type=int, default=2, choices=range(1, MAX_NODES + 1), metavar=f"1..{MAX_NODES}")
    up.add_argument("--s3", action="store_true", help="an S3-compatible store beside it")
    commands.add_parser("down", help="remove everything that `up` made; images and binaries stay in the cache")
    commands.add_parser("status", help="what runs").add_argument("--json", action="store_true")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    load = commands.add_parser("load", help="bring images from buildah's storage into every node")
    load.add_argument("image", nargs="+")
    for name, text in (
        ("stop-node", "shut a node down in order"),
        ("start-node", "bring a node back"),
        ("kill-node", "let a node lose its power"),
        ("partition", "pull a node's network cable; --heal plugs it in again"),
    ):
        commands.add_parser(name, help=text).add_argument("node")
    commands.choices["partition"].add_argument("--heal", action="store_true")
    logs = commands.add_parser("logs", help="show the log of a component such as etcd or node1-kubelet")
    logs.add_argument("component")
    logs.add_argument("-f", "--follow", action="store_true")
    alone = commands.add_parser("apiserver", help="run etcd and kube-apiserver alone until SIGTERM")
    alone.add_argument("--dir", type=Path, required=True)
    alone.add_argument("--controllers", action="store_true")
    return top


def main() -> int:
    arguments = parser().parse_args()
    try:
        return dispatch(arguments)
    except ClusterError as error:
        print(error, file=sys.stderr)
    except PermissionError as error:
        print(f"{error.filename} may not be read or written by this user: run it with sudo.", file=sys.stderr)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"The disk is full{f', at {error.filename}' if error.filename else ''}.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
    return 1


def dispatch(arguments: argparse.Namespace) -> int:
    """Run one command; its exit code is the answer."""
    if arguments.command in {"stop-node", "start-node", "kill-node", "partition"}:
        return failure(arguments)
    actions: dict[str, Callable[[], int]] = {
        "prerequisites": lambda: shown(prerequisites.install() if arguments.install else prerequisites.check()),
        "build": lambda: shown(binaries.build(say).directory),
        "which": lambda: shown(which(arguments.name)),
        "up": lambda: up(arguments.nodes, arguments.s3),
        "down": down,
        "status": lambda: status(arguments.json),
        "kubeconfig": lambda: shown(lifecycle.kubeconfig()),
        "load": lambda: load(arguments.image),
        "logs": lambda: logs(arguments.component, arguments.follow),
        "apiserver": lambda: alone(arguments.dir, arguments.controllers),
    }
    return actions[arguments.command]()


def shown(value: object) -> int:
    print(value)
    return 0


def up(nodes: int, s3: bool) -> int:
    lifecycle.up(nodes, s3, say)
    say(f"ready: export KUBECONFIG={lifecycle.kubeconfig()}")
    return 0


def down() -> int:
    lifecycle.down(say)
    return 0


def load(names: list[str]) -> int:
    lifecycle.load(names, say)
    return 0


def failure(arguments: argparse.Namespace) -> int:
    """The commands that take a node away or bring it back."""
    target = node_named(arguments.node)
    with state.locked():
        match arguments.command:
            case "stop-node":
                lifecycle.stop_node(target)
            case "start-node":
                lifecycle.start_node(target)
            case "kill-node":
                lifecycle.kill_node(target)
            case "partition":
                lifecycle.partition(target, arguments.heal)
    return 0


def which(name: str) -> str:
    found = binaries.binaries()
    if name not in found.names:
        raise ClusterError(f"There is no binary {name!r}; there are {', '.join(found.names)}.")
    return found.path(name)


def status(as_json: bool) -> int:
    found = lifecycle.status()
    if as_json:
        print(json.dumps(found))
    else:
        for group in ("components", "nodes"):
            listed = found[group]
            for name, state in listed.items() if isinstance(listed, dict) else ():
                print(f"{name:<28} {state if isinstance(state, str) else 'running' if state else 'not running'}")
        print("up" if found["up"] else "not up")
    return 0 if found["up"] else 3


def logs(component: str, follow: bool) -> int:
    folder = state_directory() / "logs"
    path = folder / f"{component}.log"
    if not path.exists():
        known = sorted(each.stem for each in folder.glob("*.log")) if folder.exists() else []
        raise ClusterError(f"There is no log of {component!r}; there are {', '.join(known) or 'none'}.")
    return subprocess.run(["tail", "-n", "200", *(["-f"] if follow else []), str(path)], check=False).returncode


def alone(directory: Path, controllers: bool) -> int:
    ends = {signal.SIGTERM, signal.SIGINT}
    # Blocked before anything starts: a signal at any time finds the processes ended in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    server = start_apiserver(directory, controllers)
    print(server.kubeconfig, flush=True)
    signal.sigwait(ends)
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
