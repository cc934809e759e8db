"""Imported by the fork server alone: what every rank needs anyway, so that ranks are forked with it in place.

Nothing here may initialise CUDA or start a thread, because neither survives a fork.
"""

import importlib
import importlib.util

from leyden.agent.warm import die_with_parent

MODULES = {"torch": "leyden.entry", "jsonargparse": "leyden.cli.parser"}
"""Package -> what is imported where it is installed: an image for scripts alone may lack some."""

die_with_parent()
for package, name in MODULES.items():
    if importlib.util.find_spec(package):
        importlib.import_module(name)
