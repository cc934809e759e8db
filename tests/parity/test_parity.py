"""Programs written for Lightning do the same with Leyden: the same hooks in the same order, the same logged numbers,
the same weights to the last bit."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leyden_images.environment import peers
from parity.compare import differences

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
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


def run(library: str, folder: Path, output: Path) -> Results:
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("tests", "trainer-image", "contract")),
    }
    command = (sys.executable, str(HERE / "run.py"), library, str(folder), str(output))
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found: Results = json.loads(output.read_text())
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results]:
    """What Leyden does and what Lightning does, by program."""
    folder = tmp_path_factory.mktemp("parity")
    installed = peers(lambda text: print(text, file=sys.stderr))
    return run("leyden", installed, folder / "leyden.json"), run("lightning", installed, folder / "lightning.json")


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
