"""``down`` leaves the machine as if there had never been a cluster. Runs last, where it may."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden_cluster import lifecycle
from leyden_cluster.node import controllers
from leyden_cluster.settings import state_directory

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        os.environ.get("LEYDEN_TEST_DOWN") != "1", reason="ends the cluster: LEYDEN_TEST_DOWN=1 allows it"
    ),
]


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def command_lines(mark: str) -> list[str]:
    """Command lines that speak of ``mark``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark in line:
            found.append(line)
    return found


def test_down_leaves_nothing_behind_and_may_be_said_twice(image: str, command: Callable[..., str]) -> None:
    state = state_directory()
    command("down")
    assert lifecycle.leftovers() == []
    assert not state.exists()
    assert command_lines(f"{state}/") == []
    assert "leyden" not in said("ip", "netns", "list") + said("ip", "-o", "link") + said("iptables-save")
    assert "10.244." not in said("ip", "route")
    assert str(state) not in Path("/proc/self/mountinfo").read_text()
    assert not [path for hierarchy in controllers() for path in hierarchy.glob("*leyden*")]
    command("down")
    assert not state.exists()
