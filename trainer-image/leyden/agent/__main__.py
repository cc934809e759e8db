"""``python -m leyden.agent``: a pod's main process; with ``--standalone`` a launcher for a script on one machine."""

import argparse
import logging
import os
import sys
from typing import Literal

from leyden.agent import standalone
from leyden.agent.agent import Agent
from leyden.agent.client import Refused
from leyden.agent.settings import BadSetting, from_environment, processes
from leyden_contract import exit_codes


def arguments() -> argparse.Namespace:
    """The command line. A pod gives none: its environment says everything."""
    parser = argparse.ArgumentParser(prog="python -m leyden.agent", description=__doc__)
    parser.add_argument("--standalone", action="store_true", help="run a script here, without a coordinator")
    parser.add_argument("--nproc", default="auto", help="ranks: a number, or auto (one per GPU, else 1)")
    parser.add_argument(
        "--as-lightning", action="store_true", help="`import lightning` is Leyden where the real one is not installed"
    )
    parser.add_argument("script", nargs="?", help="the script to run")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args()
    if given.standalone != bool(given.script):
        parser.error("--standalone and a script go together")
    return given


def main() -> int:
    given = arguments()
    logging.basicConfig(level=logging.INFO, format="[agent] %(message)s")
    try:
        if given.standalone:
            lightning: Literal["installed", "leyden"] = "leyden" if given.as_lightning else "installed"
            return standalone.run(given.script, given.args, processes(given.nproc), lightning)
        return Agent(from_environment(os.environ)).run()
    except (BadSetting, Refused) as error:
        print(f"leyden.agent: {error}", file=sys.stderr)
        return exit_codes.MISCONFIGURED


if __name__ == "__main__":
    sys.exit(main())
