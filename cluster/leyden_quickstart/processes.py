"""Commands that the quickstart runs: short ones to their end, long ones side by side with live progress."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leyden_quickstart.console import Console, StepFailed

POLL_SECONDS = 0.5


def capture(command: list[str], env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Standard output of a short command.

    Raises:
        StepFailed: the command is missing or ended with another code than 0; the reason is its last line.
    """
    try:
        ran = subprocess.run(command, env=environment(env), input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StepFailed(f"The command {command[0]!r} is not installed.") from None
    if ran.returncode != 0:
        raise StepFailed(last_line(ran.stderr or ran.stdout) or f"exit code {ran.returncode}", " ".join(command))
    return ran.stdout


def capture_json(command: list[str], env: dict[str, str] | None = None) -> Any:
    """A short command's standard output, read as JSON."""
    return json.loads(capture(command, env))


def environment(extra: dict[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass
class LongCommand:
    """A command that takes minutes, with its output in a log file."""

    name: str
    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self.command, env=environment(self.env), stdout=output, stderr=subprocess.STDOUT
            )

    def exit_code(self) -> int | None:
        """``None`` while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def said(self) -> str:
        """The last line of its log, without the clock of our own tools: the step has one."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 2000))
            line = last_line(log.read().decode(errors="replace").replace("\r", "\n"))
        return re.sub(r"^[\d.]+ s  ", "", line)


def run_side_by_side(commands: list[LongCommand], console: Console) -> None:
    """Run commands at the same time and show their last lines in turn.

    Raises:
        StepFailed: one of them failed; the others are stopped, and what they finished stays in the cache.
    """
    for command in commands:
        command.start()
    try:
        turn = 0
        while running := [command for command in commands if command.exit_code() is None]:
            _check(commands)
            shown = running[turn // 6 % len(running)]
            console.live(f"{shown.name}: {shown.said()}")
            turn += 1
            time.sleep(POLL_SECONDS)
        _check(commands)
    finally:
        for command in commands:
            command.stop()


def _check(commands: list[LongCommand]) -> None:
    for command in commands:
        if command.exit_code():
            raise StepFailed(f"{command.name}: {command.said()}", f"less {command.log}")
