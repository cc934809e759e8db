"""The file that carries the state over a restart of the coordinator's container."""

import os
from pathlib import Path

from leyden_coordinator.state import State


class Store:
    """Saves the state atomically, and only where it changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = b""

    def load(self) -> State | None:
        """The saved state, or ``None`` where there is none yet. Raises ``ValueError`` for a file that is not ours."""
        if not self.path.exists():
            return None
        return State.model_validate_json(self.path.read_bytes())

    def save(self, state: State) -> None:
        """Write the state so that a crash leaves either the old file or the new one."""
        content = state.model_dump_json().encode()
        if content == self._written:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)
        self._written = content
