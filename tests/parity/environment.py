"""What processes of the comparison inherit."""

from __future__ import annotations

import os


def inherited() -> dict[str, str]:
    """The environment without what MLflow's client has put there in this process, which another would read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
