"""What the agent's process, the warm parent and the ranks share."""

import ctypes
import signal
import struct

STEP = struct.Struct("<q")
"""A rank's count of what is done, as it stands in the file ``step``."""

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ready() -> None:
    """Runs in the first fork of the warm parent, which serves it only when all its imports are done."""
