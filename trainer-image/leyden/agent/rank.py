"""The outer frame of a rank: a process forked from the warm parent becomes what torchrun would have started.

Its environment, arguments and ``__main__`` are those of a script run by torchrun. How it ends is left in its directory
as ``failure.json`` and in its exit code, see :mod:`leyden_contract.exit_codes`.
"""

import atexit
import os
import runpy
import signal
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel

from leyden.agent.warm import die_with_parent
from leyden_contract import exit_codes
from leyden_contract.launch import CheckpointPlan, Run

FAILURE_FILE = "failure.json"


class Ending(BaseModel):
    """``failure.json``: why a rank ended as its own interpreter saw it."""

    reason: str
    message: str
    at: datetime
    retryable: bool


@dataclass(frozen=True)
class Launch:
    """What one rank runs, and its environment over that of the agent."""

    run: Run
    checkpoint: CheckpointPlan | None
    directory: Path
    environment: dict[str, str]


def main(launch: Launch, output: Connection) -> None:
    """Run the rank in this process and leave with its exit code."""
    _become_rank(launch, output)
    code = _guarded(launch)
    atexit._run_exitfuncs()  # multiprocessing leaves by os._exit, which runs none
    sys.exit(code)


def _become_rank(launch: Launch, output: Connection) -> None:
    os.setsid()
    die_with_parent()
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    for file in (sys.stdout, sys.stderr):
        file.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # always text files on the two descriptors
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    os.environ.update(launch.environment)


def _guarded(launch: Launch) -> int:
    try:
        _run(launch)
    except SystemExit as error:
        return _exit_code(error)
    except BaseException as error:  # noqa: BLE001  # the frame below which nothing may pass unseen
        error.__traceback__ = _users_part(error.__traceback__)
        traceback.print_exception(error)
        # As the interpreter does before its exit functions: those of a failed rank wait for no other rank.
        sys.last_value = error
        ending = describe(error)
        (launch.directory / FAILURE_FILE).write_text(ending.model_dump_json())
        return 1 if ending.retryable else exit_codes.MISCONFIGURED
    return exit_codes.FINISHED


def _run(launch: Launch) -> None:
    if launch.run.lightning == "leyden":
        from leyden import compat

        compat.install()
    if script := launch.run.script:
        path = Path(script.path)
        if not path.is_file():
            raise ScriptNotFound(f"{script.path} (in {Path.cwd()})")
        sys.argv = [script.path, *script.args]
        sys.path.insert(0, str(path.resolve().parent))
        runpy.run_path(script.path, run_name="__main__")
    elif launch.run.module:
        from leyden.entry import run_module

        sys.path.insert(0, os.getcwd())
        run_module(launch.run.module, launch.checkpoint)


class ScriptNotFound(Exception):
    """``run.script.path`` names no file."""

    retryable = False


def describe(error: BaseException) -> Ending:
    """An exception in the words of a job's status. An import that fails will fail again, so it is not retryable."""
    name = type(error).__name__
    first_line = (str(error).strip().splitlines() or [""])[0]
    retryable = getattr(error, "retryable", None)
    if isinstance(error, ModuleNotFoundError):
        name, message, retryable = "ModuleNotFound", error.name or first_line, False
    elif isinstance(error, ImportError):
        message, retryable = first_line, False
    elif retryable is None:
        message = f"{name}: {first_line}" if first_line else name
    else:
        message = first_line
    return Ending(reason=name[:64], message=message[:1024], at=datetime.now(UTC), retryable=retryable is not False)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """The traceback below our own frames and runpy's; all of it where the user's code was not reached."""
    rest = tb
    while rest and rest.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>", runpy.__file__):
        rest = rest.tb_next
    return rest or tb
