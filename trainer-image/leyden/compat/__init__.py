"""Programs that say ``import lightning`` run with Leyden: :func:`install`, or ``python -m leyden.compat script.py``.

Only where the real package is not installed, and only where somebody asked for it. A name of Lightning's that Leyden
has not raises an ``ImportError`` that says so; ``docs/migrating.md`` lists them all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from leyden.compat.names import FABRIC, HOMES, NOT_PROVIDED

ROOTS = {
    "lightning.fabric": FABRIC,
    "lightning_fabric": FABRIC,
    "lightning.pytorch": HOMES,
    "pytorch_lightning": HOMES,
    "lightning": HOMES,
}
"""Where the modules of a package are found. Longer names first: the first that fits is taken."""

PACKAGES = ("lightning_fabric", "pytorch_lightning", "lightning")
FOR_CHILDREN = str(Path(__file__).parent / "path")
"""Holds packages of these names, for the path of child processes."""


def install() -> None:
    """Let ``lightning``, ``lightning.pytorch`` and ``pytorch_lightning`` be Leyden where they are not installed.

    In this process, and in those that it starts: workers of a data loader or of a web server, ranks.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if not any(map(find_spec, PACKAGES)):
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([path, FOR_CHILDREN] if path else [FOR_CHILDREN])
        sys.path.append(FOR_CHILDREN)  # spawned ones get this list instead
    sys.meta_path.append(_Finder())


def become(name: str) -> None:
    """Put Leyden in the place of a package that this process found on its path."""
    install()
    spec = _Finder().find_spec(name, None)
    assert spec is not None, "only the names of ROOTS stand on the path"
    sys.modules[name] = module_from_spec(spec)


def _home(fullname: str) -> str | None:
    """Leyden's module in the place of one of Lightning's; empty where there is none, ``None`` for other packages."""
    for root, homes in ROOTS.items():
        if fullname == root or fullname.startswith(f"{root}."):
            return homes.get(fullname[len(root) + 1 :], "")
    return None


class _Finder(MetaPathFinder, Loader):
    """Last on the path, so that an installed Lightning is found first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        home = _home(fullname)
        if home is None:
            return None
        if not home:
            raise ModuleNotFoundError(_not_provided(fullname), name=fullname)
        return ModuleSpec(fullname, self, loader_state=home, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name, spec.loader_state)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run: names are looked up when they are used."""


class _Module(ModuleType):
    """A module of Lightning's with Leyden's things in it."""

    def __init__(self, name: str, home: str):
        super().__init__(name, f"{name}, by Leyden")
        self._home = home

    def __getattr__(self, name: str) -> Any:
        home = import_module(self._home)
        if name == "__version__":
            from leyden.checkpoint.capture import LIGHTNING_VERSION

            return LIGHTNING_VERSION
        if name.startswith("_") and name != "__all__" and name not in getattr(home, "__all__", ()):
            raise AttributeError(name)
        if _home(f"{self.__name__}.{name}"):
            return import_module(f"{self.__name__}.{name}")
        found = getattr(home, name, None)
        if found is not None and not isinstance(found, ModuleType):  # what it imports itself is not offered
            return found
        if name in NOT_PROVIDED:
            raise ImportError(_not_provided(f"{self.__name__}.{name}"), name=self.__name__)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return dir(import_module(self._home))


def _not_provided(name: str) -> str:
    return f"Leyden does not provide {name}: docs/migrating.md says what to use instead"
