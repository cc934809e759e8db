"""Imported by the fork server alone: what every rank needs anyway, so that ranks are forked with it in place.

Nothing here may initialise CUDA or start a thread, because neither survives a fork.
"""

import importlib
import importlib.util

from leyden.agent.warm import die_with_parent

MODULES = (
    *("torch", "torch.distributed", "torch.nn.parallel", "torch.optim", "torch.utils.data"),
    *("leyden.entry", "leyden.cli.parser"),
)

die_with_parent()
if importlib.util.find_spec("torch"):
    for name in MODULES:
        importlib.import_module(name)
