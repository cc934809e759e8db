"""Programs written for Lightning do the same with Leyden: the same hooks in the same order, the same logged numbers,
the same weights to the last bit."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leyden.agent.machine import free_port
from leyden_images.environment import peers
from parity.compare import differences
from parity.environment import of_programs

HERE = Path(__file__).parent
Results = dict[str, dict[str, Any]]


def programs(decorator: str) -> list[str]:
    """Names of the corpus's functions under a decorator; read, not imported, since they import Lightning."""
    found = []
    for path in sorted((HERE / "programs").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", ())]
            if isinstance(node, ast.FunctionDef) and any(mark.split("(")[0] == decorator for mark in marks):
                found.append(node.name)
    return found


def start(library: str, folder: Path, output: Path, **variables: str) -> subprocess.Popen[str]:
    command = (sys.executable, str(HERE / "run.py"), library, str(folder), str(output))
    env = of_programs(**variables)
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process: subprocess.Popen[str], output: Path) -> Results:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    found: Results = json.loads(output.read_text())
    return found


def run(library: str, folder: Path, output: Path) -> Results:
    return end(start(library, folder, output), output)


def run_two(library: str, folder: Path, output: Path) -> list[Results]:
    """Two processes with the variables that torchrun sets, rank 0's results first."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in ("0", "1"):
        own = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "parity"}
        path = output.with_suffix(f".{rank}.json")
        started.append((start(library, folder, path, **shared, **own), path))
    return [end(process, path) for process, path in started]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results]:
    """What Leyden does and what Lightning does, by program."""
    folder = tmp_path_factory.mktemp("parity")
    installed = peers(lambda text: print(text, file=sys.stderr))
    return run("leyden", installed, folder / "leyden.json"), run("lightning", installed, folder / "lightning.json")


@pytest.fixture(scope="module")
def results_of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Results], list[Results]]:
    """The same of two processes, by rank."""
    folder = tmp_path_factory.mktemp("parity")
    installed = peers(lambda text: print(text, file=sys.stderr))
    return run_two("leyden", installed, folder / "leyden"), run_two("lightning", installed, folder / "lightning")


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", programs("program"))
def test_leyden_does_what_lightning_does(results: tuple[Results, Results], name: str) -> None:
    ours, theirs = results
    found = differences(ours[name], theirs[name])
    assert not found, "\n".join(found)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", programs("different"))
def test_differences_on_purpose_are_still_there(results: tuple[Results, Results], name: str) -> None:
    ours, theirs = results
    assert not ours[name]["raised"], ours[name]["raised"]
    assert differences(ours[name], theirs[name]), f"{name} does the same now: make it a plain program"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", programs("distributed"))
def test_two_processes_do_what_lightnings_do(
    results_of_two: tuple[list[Results], list[Results]], name: str, rank: int
) -> None:
    ours, theirs = (of_library[rank][name] for of_library in results_of_two)
    assert not ours["raised"], ours["raised"]
    found = differences(ours, theirs)
    assert not found, "\n".join(found)
