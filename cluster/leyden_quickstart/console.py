"""What a person sees while steps run: one line a step, its elapsed time, and live progress for the long ones."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

LOG_INTERVAL = 15.0
"""Seconds between progress lines where the output is not a terminal."""

WIDTH = 100


class StepFailed(Exception):
    """A step cannot go on.

    Args:
        reason: one sentence, likely cause included.
        look: the command that shows more.
    """

    def __init__(self, reason: str, look: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.look = look


class Console:
    """Prints steps. On a terminal the running step's line is rewritten; elsewhere a line is added now and then."""

    def __init__(self, total: int, stream: TextIO = sys.stdout, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._stream = stream
        self._clock = clock
        self._number = 0
        self._title = ""
        self._began = clock()
        self._said = 0.0
        self._last = ""

    def begin(self, title: str) -> None:
        """Start the next step."""
        self._number += 1
        self._title, self._began, self._said, self._last = title, self._clock(), self._clock(), ""
        if not self._stream.isatty():
            self._line(f"{self._head()} ...")
        else:
            self.live("")

    def live(self, text: str) -> None:
        """Say how far the running step is. Cheap to call often."""
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[2K{f'{self._head()} {self._elapsed()}  {text}'[:WIDTH]}")
            self._stream.flush()
        elif text and text != self._last and self._clock() - self._said >= LOG_INTERVAL:
            self._said, self._last = self._clock(), text
            self._line(f"        {self._elapsed()}  {text}"[:WIDTH])

    def done(self, summary: str) -> None:
        """End the running step."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[2K")
        self._line(f"{self._head()} {self._elapsed()}  {summary}")

    def failed(self, error: StepFailed) -> None:
        """End the running step with what went wrong and where to look."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[2K")
        self._line(f"{self._head()} {self._elapsed()}  failed")
        self._line(f"\n  {error.reason}")
        if error.look:
            self._line(f"  Look closer:  {error.look}")

    def say(self, text: str = "") -> None:
        """A line between steps."""
        self._line(text)

    def _head(self) -> str:
        return f"[{self._number:>2}/{self._total}] {self._title:<34}"

    def _elapsed(self) -> str:
        return f"{seconds(self._clock() - self._began):>8}"

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


@dataclass(frozen=True)
class Step:
    """A named piece of work. ``action`` returns the one-line summary of what it found or did."""

    title: str
    action: Callable[[Console], str]


def run_steps(steps: list[Step], console: Console) -> bool:
    """Run the steps in order until one fails; says which. True when all are through."""
    for step in steps:
        console.begin(step.title)
        try:
            console.done(step.action(console))
        except StepFailed as error:
            console.failed(error)
            return False
    return True


def seconds(duration: float) -> str:
    """``7.2 s`` or ``3 m 07 s``."""
    if duration < 60:
        return f"{duration:.1f} s"
    return f"{int(duration) // 60} m {int(duration) % 60:02d} s"
