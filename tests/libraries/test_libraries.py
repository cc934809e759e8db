"""Libraries that are written for Lightning train with Leyden as they are, and end with the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leyden_images.environment import libraries, peers
from parity.environment import of_programs

NAMES = ("gluonts", "lightly", "optuna", "pytorch_forecasting", "torch_geometric")


def said(text: str) -> None:
    print(text, file=sys.stderr)


def run(library: str, name: str, *folders: Path) -> dict[str, Any]:
    command = (sys.executable, str(Path(__file__).parent / "run.py"), library, name, *map(str, folders))
    ran = subprocess.run(command, env=of_programs(), capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-4000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("libraries")
@pytest.mark.parametrize("name", NAMES)
def test_a_library_does_what_it_does_with_lightning(name: str) -> None:
    installed = libraries(said)
    assert run("leyden", name, installed) == run("lightning", name, installed, peers(said))
