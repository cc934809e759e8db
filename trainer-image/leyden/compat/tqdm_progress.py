"""``lightning.pytorch.callbacks.progress.tqdm_progress``: the bar, and tqdm's own, which libraries name beside it."""

from __future__ import annotations

from typing import Any

from leyden.callbacks.progress import TQDMProgressBar

__all__ = ["TQDMProgressBar", "Tqdm"]


class Tqdm:
    """Gives a bar of tqdm's, which has to be installed for that. Leyden makes none itself."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from tqdm.auto import tqdm

        return tqdm(*args, **kwargs)
