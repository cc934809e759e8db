"""Imported by the fork server alone: what every rank needs anyway, so that ranks are forked with it in place.

Nothing here may initialise CUDA or start a thread, because neither survives a fork.
"""

import importlib
import importlib.util

from leyden.agent.warm import die_with_parent

MODULES = {
    "torch": (
        *("torch", "torch.distributed", "torch.nn.parallel", "torch.optim", "torch.utils.data"),
        "leyden.entry",
    ),
    "jsonargparse": ("leyden.cli.parser",),
}
"""Package -> what is imported where it is installed: an image for scripts alone may lack some."""

die_with_parent()
for package, names in MODULES.items():
    if importlib.util.find_spec(package):
        for name in names:
            importlib.import_module(name)
