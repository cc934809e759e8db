"""Runs the corpus with one library: ``python run.py lightning|leyden PEERS OUTPUT [PROGRAM...]``.

With a launcher's variables in the environment, the programs of two processes; with ``LEYDEN_TEST_ACCELERATOR=gpu`` all
others on a CUDA device, and those that need one.

``PEERS`` is the folder with Lightning and torchmetrics (``python3 -m leyden_images peers``).
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any


def run_all(names: list[str]) -> dict[str, Any]:
    import torch

    from accelerator import ON_GPU
    from parity import programs
    from parity.recording import CUDA, DISTRIBUTED, PROGRAMS, Seen

    programs.load()
    torch.set_num_threads(1)
    found = {}
    corpus = DISTRIBUTED if "RANK" in os.environ else PROGRAMS | (CUDA if ON_GPU else {})
    for name, function in corpus.items():
        if names and name not in names:
            continue
        random.seed(7)
        torch.manual_seed(7)
        with tempfile.TemporaryDirectory() as folder:
            seen = Seen(Path(folder))
            raised = None
            try:
                function(seen)
            except BaseException as error:  # noqa: BLE001  what it raised is part of what it did
                raised = "".join(traceback.format_exception(error))
            found[name] = {**seen.result(), "raised": raised}
    return found


def main() -> None:
    library, peers, output, *names = sys.argv[1:]
    sys.path.append(peers)
    if library == "leyden":
        import torchmetrics  # noqa: F401  Lightning lies in the same folder, so the path goes again

        sys.path.remove(peers)
        from leyden import compat

        compat.install()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    Path(output).write_text(json.dumps(run_all(names)))


if __name__ == "__main__":
    main()
