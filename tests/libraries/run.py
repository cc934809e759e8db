"""Runs a program with one library: ``python run.py lightning|leyden NAME LIBRARIES [PEERS]``. Prints JSON."""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import warnings
from pathlib import Path


def main() -> None:
    library, name, *folders = sys.argv[1:]
    sys.path += folders
    if library == "leyden":
        from leyden import compat

        compat.install()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import numpy as np
    import torch

    from libraries import programs

    torch.set_num_threads(1)
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as folder:
        found = getattr(programs, name)(Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
