"""What a profiler is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leyden.rank_zero import is_rank_zero


class Profiler:
    """Told when actions of a run begin and end. Actions are hooks (``[LightningModule]Net.on_train_start``), steps,
    ``run_training_epoch``, ``run_training_batch`` and the fetching of batches.

    With ``filename`` the summary goes to ``<dirpath>/<stage>-<filename>.txt`` (default directory: the logger's), else
    it is printed.
    """

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None) -> None:
        self.dirpath = Path(dirpath) if dirpath is not None else None
        self.filename = filename
        self.local_rank: int | None = None
        self._stage = ""
        self._log_dir = Path.cwd()

    def start(self, action_name: str) -> None:
        """An action begins."""
        raise NotImplementedError

    def stop(self, action_name: str) -> None:
        """An action ends."""
        raise NotImplementedError

    def summary(self) -> str:
        """What was found, for people."""
        return ""

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | Path | None = None) -> None:
        """A run begins. ``log_dir``: where files go that have no ``dirpath``."""
        self._stage = stage
        self.local_rank = local_rank
        self._log_dir = Path(log_dir) if log_dir is not None else Path.cwd()

    def teardown(self, stage: str) -> None:
        """A run ended and was described."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """The body is an action."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def profiled(self, action_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` as an action."""
        return self.profile(action_name)(function)  # contextlib's context managers decorate, too

    def profiled_iterator(self, action_name: str, items: Iterator[Any]) -> Iterator[Any]:
        """``items``, each fetch of which is an action."""
        fetch = self.profiled(action_name, lambda: next(items, _END))
        while (item := fetch()) is not _END:
            yield item

    @property
    def folder(self) -> Path:
        """Where files go."""
        return self.dirpath if self.dirpath is not None else self._log_dir

    def _file(self, name: str) -> Path:
        """A file of the running stage, in a directory that is there."""
        path = self.folder / f"{self._stage}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def describe(self) -> None:
        """Print the summary or write it to its file. Rank 0 only."""
        text = self.summary()
        if not text or not is_rank_zero():
            return
        if self.filename is None:
            print(text, flush=True)
        else:
            self._file(f"{self.filename}.txt").write_text(text + "\n")


_END = object()


class PassThroughProfiler(Profiler):
    """Measures nothing, and costs a run nothing."""

    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass

    def profiled(self, action_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def profiled_iterator(self, action_name: str, items: Iterator[Any]) -> Iterator[Any]:
        return items
