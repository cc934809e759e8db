"""Loggers that write into a directory for each run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from leyden.loggers.base import Logger, Params, as_dict
from leyden.rank_zero import rank_zero_only


class DirectoryLogger(Logger):
    """Writes to ``<save_dir>/<name>``; an empty ``name`` leaves its directory out."""

    def __init__(self, save_dir: str | Path, name: str | None, prefix: str) -> None:
        self._save_dir = Path(os.path.expandvars(save_dir)).expanduser()
        self._name = name or ""
        self._prefix = prefix

    @property
    def name(self) -> str:
        return self._name

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    @property
    def root_dir(self) -> str:
        return str(self._save_dir / self._name)


class VersionedLogger(DirectoryLogger):
    """Writes to ``<save_dir>/<name>/version_<n>``; ``n`` is the first number after those that are taken.

    A text as ``version`` is the directory's name as it is.
    """

    NAME_HPARAMS_FILE = "hparams.yaml"
    """Lightning's name. The text is JSON, which YAML includes."""

    def __init__(self, save_dir: str | Path, name: str | None, version: int | str | None, prefix: str) -> None:
        super().__init__(save_dir, name, prefix)
        self._version = version
        self.hparams: dict[str, Any] = {}

    @property
    def version(self) -> int | str:
        if self._version is None:
            taken = [path.name.removeprefix("version_") for path in Path(self.root_dir).glob("version_*")]
            self._version = max((int(number) for number in taken if number.isdigit()), default=-1) + 1
        return self._version

    @property
    def log_dir(self) -> str:
        return str(Path(self.root_dir) / (self.version if isinstance(self.version, str) else f"version_{self.version}"))

    @rank_zero_only
    def _keep_hyperparams(self, params: Params) -> None:
        self.hparams.update(as_dict(params))
        path = Path(self.log_dir) / self.NAME_HPARAMS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.hparams, indent=2, default=repr) + "\n", encoding="utf-8")
