"""Every public name of Lightning's is there, or refused by name with a row in the guide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.compat.names import HOMES, LEFT_OUT, NOT_PROVIDED
from leyden_images.environment import peers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(*arguments: str, given: str | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("trainer-image", "contract"))}
    command = (sys.executable, str(HERE / "inventory.py"), *arguments)
    ran = subprocess.run(command, env=env, input=given, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.xdist_group("parity")
def test_every_public_name_is_provided_or_refused_by_name() -> None:
    listed = run("names", str(peers(lambda text: print(text, file=sys.stderr))))
    offered = json.loads(listed)
    assert len(offered) > 100 and sum(map(len, offered.values())) > 200
    assert json.loads(run("missing", given=listed)) == []
    known = {name for names in offered.values() for name in names}
    assert sorted(NOT_PROVIDED - known) == ["Fabric"], "names that Lightning has not either; Fabric is beside it"
    assert [module for module in (*HOMES, *LEFT_OUT) if module not in offered] == []


@pytest.mark.parametrize("module", sorted(LEFT_OUT))
def test_the_guide_says_what_to_use_instead_of_a_module(module: str) -> None:
    assert f"`{module}`" in (ROOT / "docs/migrating.md").read_text()
