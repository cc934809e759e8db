"""``python -m leyden_operator``."""

import asyncio
import logging
import os
import sys

from leyden_operator.controllers.operator import run
from leyden_operator.settings import BadSetting, from_environment


def main() -> int:
    try:
        settings = from_environment(os.environ)
    except BadSetting as error:
        print(error, file=sys.stderr)
        return 78
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    # kopf tells of each event that it sees; that is ours to tell.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
