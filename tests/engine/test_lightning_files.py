"""A checkpoint of Lightning in mid-epoch is gone on from by Leyden, and the other way round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leyden_images.environment import peers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(library: str, source: str, target: str, output: Path) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("trainer-image", "contract"))}
    folder = str(peers(lambda text: print(text, file=sys.stderr)))
    command = (sys.executable, str(HERE / "lightning_files.py"), library, folder, source, target, str(output))
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("writer, reader", [("lightning", "leyden"), ("leyden", "lightning")])
def test_the_other_library_goes_on_where_the_file_was_saved(tmp_path: Path, writer: str, reader: str) -> None:
    """As it goes on from its own file. (Lightning begins the epoch's data anew, so it is not the uninterrupted run.)"""
    for library in (writer, reader):
        run(library, "-", str(tmp_path / f"{library}.ckpt"), tmp_path / "whole.json")
    rest, own = (run(reader, str(tmp_path / f"{one}.ckpt"), "-", tmp_path / "rest.json") for one in (writer, reader))
    assert rest["steps"] == list(range(8, 16))
    assert rest == own
