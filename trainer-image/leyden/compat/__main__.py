"""``python -m leyden.compat script.py [arguments]`` or ``-m module [arguments]``: run a Lightning program."""

import os
import runpy
import sys
from pathlib import Path

from leyden import compat

USAGE = "Usage: python -m leyden.compat script.py [arguments], or python -m leyden.compat -m module [arguments]"


def main() -> None:
    script, *rest = sys.argv[1:] or [""]
    compat.install()
    if script == "-m" and rest:
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    if not Path(script).is_file():
        sys.exit(f"{f'{script} is not a file' if script else 'no script is given'}. {USAGE}")
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(script).resolve().parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
