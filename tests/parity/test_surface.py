"""Every public class, method, property and argument of Lightning 2.6.6 is there, or docs/migrating.md says that not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leyden.compat.names import NOT_PROVIDED
from leyden_images.environment import peers
from parity.environment import of_programs

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HEADING = "## Members left out"

Surface = dict[str, dict[str, Any]]


def surface(library: str, installed: Path, output: Path) -> Surface:
    command = (sys.executable, str(HERE / "surface.py"), library, str(installed), str(output))
    ran = subprocess.run(command, env=of_programs(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found: Surface = json.loads(output.read_text())
    return found


def missing(ours: Surface, theirs: Surface) -> set[str]:
    """Classes, members and arguments with another default, as ``Class.method(argument)``."""
    found = set(theirs) - set(ours)
    for kind in set(theirs) - found:
        for name, wanted in theirs[kind].items():
            if name not in ours[kind]:
                found.add(f"{kind}.{name}")
            elif wanted is not None and ours[kind][name] is not None:
                found |= {f"{kind}.{name}({argument})" for argument in arguments(name, ours[kind][name], wanted)}
    return found


def arguments(method: str, ours: list[str], theirs: list[str]) -> set[str]:
    """Those that a call written for Lightning misses. Hooks that take whatever comes are not compared."""
    if ("*" in theirs and method != "__init__") or "**" in ours:
        return set()
    lacking = {argument.split("=")[0] for argument in theirs if argument not in ours and argument not in ("*", "**")}
    shared = [argument for argument in theirs if argument in ours]
    return lacking | ({"order"} if [argument for argument in ours if argument in theirs] != shared else set())


def documented() -> set[str]:
    """What the table of docs/migrating.md lists."""
    text = (ROOT / "docs" / "migrating.md").read_text()
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \|", text[text.index(HEADING) :], re.MULTILINE)
    listed = set()
    for kinds, members in rows:
        for kind in re.findall(r"`(.+?)`", kinds):
            listed |= {f"{kind}.{member}" for member in re.findall(r"`(.+?)`", members)}
    return listed


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("surface")
    installed = peers(lambda text: print(text, file=sys.stderr))
    ours = surface("leyden", installed, folder / "leyden.json")
    return missing(ours, surface("lightning", installed, folder / "lightning.json"))


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]


@pytest.mark.timeout(300)
def test_what_is_missing_is_documented(lacking: set[str]) -> None:
    assert sorted(lacking - documented() - NOT_PROVIDED) == []


@pytest.mark.timeout(300)
def test_what_is_documented_is_missing(lacking: set[str]) -> None:
    assert sorted(documented() - lacking) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param(["a", "b=1"], ["a", "b=1"], set(), id="the-same"),
        pytest.param(["a", "b=2"], ["a", "b=1"], {"b"}, id="another-default"),
        pytest.param(["a", "b=1", "c=2"], ["a", "b=1"], set(), id="more"),
        pytest.param(["c=2", "a"], ["a", "c=2"], {"order"}, id="another-order"),
        pytest.param(["**"], ["a=1"], set(), id="whatever-comes"),
        pytest.param(["a"], ["a", "b=1", "*", "**"], set(), id="a-hook"),
    ],
)
def test_arguments_are_compared(ours: list[str], theirs: list[str], expected: set[str]) -> None:
    assert arguments("method", ours, theirs) == expected
