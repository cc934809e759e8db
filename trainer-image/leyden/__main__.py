"""``python -m leyden``: the ``leyden`` command."""

import sys

from leyden.commands import main

if __name__ == "__main__":
    sys.exit(main())
