"""Loaders that know by themselves where they stand, whichever library reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class KeepsPlace:
    """Nobody else knows how long it is."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.batches = list(loader)
        self.position = self.given = 0
        """In the epoch, and batches that were given in all."""

    def __iter__(self) -> Iterator[Any]:
        while self.position < len(self.batches):
            self.position += 1
            self.given += 1
            yield self.batches[self.position - 1]
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


class KeepsPlaceAndLength(KeepsPlace):
    """Its length is known, so that no batch is fetched ahead."""

    def __iter__(self) -> Iterator[Any]:
        self.position %= len(self.batches)  # at its end, which nobody has asked for
        return super().__iter__()

    def __len__(self) -> int:
        return len(self.batches)
