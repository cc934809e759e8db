"""Programs written for Lightning do the same with Leyden: the same hooks in the same order, the same logged numbers,
the same weights to the last bit."""

from __future__ import annotations

import sys

import pytest

from accelerator import ON_GPU
from leyden_images.environment import peers
from parity.compare import differences
from parity.libraries import Results, programs, run, run_two

PROGRAMS = programs("program") + (programs("on_gpu") if ON_GPU else [])


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
@pytest.mark.parametrize("name", PROGRAMS)
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
