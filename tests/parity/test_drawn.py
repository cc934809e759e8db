"""Programs drawn at random do the same with Leyden and with Lightning, in one process and in two.

``LEYDEN_TEST_DRAWN=5000:1000`` runs a thousand others, from the 5000th on, and a quarter of them in two processes.
"""

from __future__ import annotations

import json
import os
import sys

import pytest

from leyden_images.environment import peers
from parity.compare import differences
from parity.drawn.agreed import agreed_across_ranks
from parity.drawn.draw import draw
from parity.libraries import Results, end, run_two, start

FIRST, COUNT = map(int, os.environ.get("LEYDEN_TEST_DRAWN", "0:150").split(":"))
COUNT_OF_TWO = COUNT // 4

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("drawn")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results]:
    """What Leyden does and what Lightning does, by number."""
    folder = tmp_path_factory.mktemp("drawn")
    installed = peers(lambda text: print(text, file=sys.stderr))
    outputs = [folder / f"{library}.json" for library in ("leyden", "lightning")]
    asked = ["--drawn", str(FIRST), str(COUNT)]
    started = [start(output.stem, installed, output, *asked) for output in outputs]
    ours, theirs = (end(process, output) for process, output in zip(started, outputs, strict=True))
    return ours, theirs


@pytest.fixture(scope="module")
def results_of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Results], list[Results]]:
    """The same of two processes, by rank."""
    folder = tmp_path_factory.mktemp("drawn")
    installed = peers(lambda text: print(text, file=sys.stderr))
    asked = ["--drawn", str(FIRST), str(COUNT_OF_TWO)]
    ours = run_two("leyden", installed, folder / "leyden", *asked)
    return ours, run_two("lightning", installed, folder / "lightning", *asked)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(FIRST, FIRST + COUNT))
def test_leyden_does_what_lightning_does(results: tuple[Results, Results], number: int) -> None:
    ours, theirs = (of_library[str(number)] for of_library in results)
    found = differences(ours, theirs)
    assert not found, "\n".join([json.dumps(draw(number)), *found])


def test_most_programs_run_to_their_end(results: tuple[Results, Results]) -> None:
    """The comparison would be idle where both libraries refuse."""
    ended = sum(result["raised"] is None for result in results[0].values())
    assert ended > 0.8 * COUNT, f"only {ended} of {COUNT}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", range(FIRST, FIRST + COUNT_OF_TWO))
def test_two_processes_do_what_lightnings_do(
    results_of_two: tuple[list[Results], list[Results]], number: int, rank: int
) -> None:
    ours, theirs = (of_library[rank][str(number)] for of_library in results_of_two)
    found = differences(ours, theirs)
    assert not found, "\n".join([json.dumps(agreed_across_ranks(draw(number))), *found])
