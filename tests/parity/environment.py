"""What processes of the comparison inherit."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def inherited() -> dict[str, str]:
    """The environment without what MLflow's client has put there in this process, which another would read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}


def of_programs(**variables: str) -> dict[str, str]:
    """The environment of a process that runs a program with one of the libraries."""
    paths = os.pathsep.join(str(ROOT / part) for part in ("tests", "trainer-image", "contract"))
    return {**inherited(), "PYTHONPATH": paths, **variables}
