"""Runs the corpus with one library: ``python run.py lightning|leyden PEERS OUTPUT [PROGRAM...]``, or programs drawn at
random: ``... OUTPUT --drawn FIRST COUNT``. With ``--interrupted`` Leyden runs these whole, and stopped and resumed.

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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from parity.drawn.agreed import agreed_across_ranks, resumable
from parity.drawn.draw import draw


def corpus(names: list[str]) -> dict[str, Callable[[Any], None]]:
    """The programs that were asked for."""
    from accelerator import ON_GPU
    from parity import programs
    from parity.drawn.play import play
    from parity.recording import CUDA, DISTRIBUTED, PROGRAMS

    if names[:1] == ["--drawn"]:
        return {number: partial(play, spec) for number, spec in drawn(*names[1:]).items()}
    if names[:1] == ["--interrupted"]:
        from parity.drawn.interrupt import interrupt

        return {number: partial(interrupt, resumable(spec)) for number, spec in drawn(*names[1:]).items()}
    programs.load()
    known = DISTRIBUTED if "RANK" in os.environ else PROGRAMS | (CUDA if ON_GPU else {})
    return {name: function for name, function in known.items() if not names or name in names}


def drawn(first: str, count: str) -> dict[str, dict[str, Any]]:
    """What the programs of these numbers are made of."""
    numbers = range(int(first), int(first) + int(count))
    found = {str(number): draw(number) for number in numbers}
    if "RANK" not in os.environ:
        return found
    return {number: agreed_across_ranks(spec) for number, spec in found.items()}


def run_all(names: list[str]) -> dict[str, Any]:
    import torch

    from parity.recording import Seen

    torch.set_num_threads(1)
    found = {}
    for name, function in corpus(names).items():
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
