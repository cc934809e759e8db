"""The ``leyden`` command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from leyden import __version__
from leyden.errors import LeydenError, ModuleNotFound

COMMANDS = {
    "fit": ("training", "train a module"),
    "validate": ("training", "measure a module on its validation data"),
    "test": ("training", "measure a module on its test data"),
    "predict": ("training", "predictions for a module's data, printed or in a file"),
    "export": ("export", "a checkpoint as ONNX, .pt2 or TorchScript"),
    "serve": ("serve", "answer requests with a checkpoint, on this machine"),
    "inspect": ("inspect", "what a checkpoint holds, and whether it is whole"),
}
"""Command -> the module here that runs it, and what it does."""

AS_LIGHTNING = "--as-lightning"
MISUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or 2 after one sentence about what has to be changed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if AS_LIGHTNING in given:
        from leyden import compat

        given.remove(AS_LIGHTNING)
        compat.install()
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        return 0 if given else MISUSED
    if given[0] == "--version":
        print(f"leyden {__version__}")
        return 0
    command, *rest = given
    if command not in COMMANDS:
        print(f"leyden: {command!r} is not a command; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return MISUSED
    sys.path.insert(0, "")  # modules are looked for in the working directory, as by `python -m`
    module = importlib.import_module(f"{__name__}.{COMMANDS[command][0]}")
    try:
        module.run(command, rest)
    except LeydenError as error:
        said = f"there is no module {error}" if isinstance(error, ModuleNotFound) else error
        print(f"leyden {command}: {said}", file=sys.stderr)
        return MISUSED
    return 0


def usage() -> str:
    """The help of the command itself."""
    listed = "\n".join(f"  {name:<10}{summary}" for name, (_, summary) in COMMANDS.items())
    return (
        f"usage: leyden COMMAND [options]\n\n{listed}\n\n"
        "`leyden COMMAND --help` lists the options; with --model, those of the module too.\n"
        f"{AS_LIGHTNING}: `import lightning` in your code is Leyden, where the real one is not installed."
    )
