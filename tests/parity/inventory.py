"""What Lightning offers to be imported: ``python inventory.py names PEERS`` lists it as JSON, and ``python inventory.py
missing < names`` says what of it Leyden neither has nor says that it has not."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

ROOT = "lightning.pytorch"
Names = dict[str, list[str]]


def names() -> Names:
    """Public names by public module, the package's own name left out."""
    package = importlib.import_module(ROOT)
    found = {"": public(package)}
    for info in pkgutil.walk_packages(package.__path__, f"{ROOT}."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            found[info.name.removeprefix(f"{ROOT}.")] = public(importlib.import_module(info.name))
    return found


def public(module: ModuleType) -> list[str]:
    """``__all__``; without it, what the module itself defines (functions, classes, type
    aliases, registries) and, in a package, what it imports."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    assert module.__file__ is not None
    found = set()
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.Subscript, ast.Call)):
            targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
            made = isinstance(node.value, ast.Call)  # a registry, by its name; a cache, a logger, a type variable too
            found.update(name for name in targets if not made or name.endswith("Registry"))
        elif isinstance(node, ast.ImportFrom) and hasattr(module, "__path__"):
            found.update(alias.asname or alias.name for alias in node.names)
    return sorted(name for name in found if not name.startswith("_") and hasattr(module, name))


def missing(offered: Names) -> list[str]:
    """What is neither provided nor refused by name, and what is refused though it is there."""
    from leyden import compat
    from leyden.compat.names import LEFT_OUT, NOT_PROVIDED

    compat.install()
    found = []
    for inside, listed in offered.items():
        if any(inside == one or inside.startswith(f"{one}.") for one in LEFT_OUT):
            continue
        provided = {name for name in listed if _imports(f"{ROOT}.{inside}".rstrip("."), name)}
        found += [f"{inside}.{name}" for name in listed if (name in provided) == (name in NOT_PROVIDED)]
        if not listed and not _imports(f"{ROOT}.{inside}"):
            found.append(inside)
    return found


def _imports(module: str, name: str = "") -> bool:
    try:
        found = importlib.import_module(module)
        return not name or hasattr(found, name)
    except ImportError:
        return False


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if sys.argv[1] == "names":
        sys.path.append(sys.argv[2])
        print(json.dumps(names()))
    else:
        print(json.dumps(missing(json.load(sys.stdin))))
