"""``python -m leyden.compat script.py [arguments]``: run a script that was written for Lightning."""

import runpy
import sys
from pathlib import Path

from leyden import compat


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        given = f"{sys.argv[1]} is not a file" if len(sys.argv) > 1 else "no script is given"
        sys.exit(f"{given}. Usage: python -m leyden.compat script.py [arguments]")
    compat.install()
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
