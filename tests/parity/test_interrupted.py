"""Programs drawn at random end alike whether they run whole, are stopped by SIGTERM and resumed, or go on from a file
of ModelCheckpoint, in one process and in two.

``LEYDEN_TEST_DRAWN`` chooses others, as in ``test_drawn.py``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from leyden_images.environment import peers
from parity.compare import values_differ
from parity.drawn.agreed import agreed_across_ranks, resumable
from parity.drawn.draw import draw
from parity.libraries import Results, end, run_two, start

FIRST, COUNT = map(int, os.environ.get("LEYDEN_TEST_DRAWN", "0:150").split(":"))
COUNT_OF_TWO = COUNT // 4
EXACT = ("weights", "next_random_number")
OF_FILES = (*EXACT, "global_step", "current_epoch", "rates", "callback_metrics")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("interrupted")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What both ways come to, by number."""
    output = tmp_path_factory.mktemp("interrupted") / "results.json"
    installed = peers(lambda text: print(text, file=sys.stderr))
    return end(start("leyden", installed, output, "--interrupted", str(FIRST), str(COUNT)), output)


@pytest.fixture(scope="module")
def results_of_two(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """The same of two processes, one of which is told to stop, by rank."""
    output = tmp_path_factory.mktemp("interrupted") / "results"
    installed = peers(lambda text: print(text, file=sys.stderr))
    return run_two("leyden", installed, output, "--interrupted", str(FIRST), str(COUNT_OF_TWO))


def found_in(result: dict[str, Any]) -> list[str]:
    """How the runs differ. A program that cannot run has no whole one, and one that was over in time none resumed."""
    values = result["values"]
    if "whole" not in values:
        return [] if result["raised"] else ["nothing was run"]
    if result["raised"]:
        return [result["raised"]]
    whole, found = values["whole"], list[str]()
    for name, parts in (("resumed", tuple(whole)), ("from_file", OF_FILES)):
        for part in parts if name in values else ():
            one = values[name][part]
            found.extend(values_differ(one, whole[part], (name, "whole"), part, exact=part in EXACT))
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(FIRST, FIRST + COUNT))
def test_a_resumed_run_ends_like_a_whole_one(results: Results, number: int) -> None:
    found = found_in(results[str(number)])
    assert not found, "\n".join([json.dumps(resumable(draw(number))), *found])


def test_many_programs_are_interrupted(results: Results) -> None:
    """The comparison would be idle where all are over in time."""
    resumed = sum("resumed" in result["values"] for result in results.values())
    from_file = sum("from_file" in result["values"] for result in results.values())
    assert resumed > 0.4 * COUNT and from_file > 0.03 * COUNT, f"only {resumed} and {from_file} of {COUNT}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", range(FIRST, FIRST + COUNT_OF_TWO))
def test_two_resumed_processes_end_like_whole_ones(results_of_two: list[Results], number: int, rank: int) -> None:
    found = found_in(results_of_two[rank][str(number)])
    assert not found, "\n".join([json.dumps(resumable(agreed_across_ranks(draw(number)))), *found])
