"""One line of progress: in a notebook an output that is replaced, in a terminal a line that is written over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from lmkit.display.units import format_duration
from lmkit.system.environment import has_widgets

QUIET_SECONDS, PERIOD = 2.0, 0.5
"""Seconds before progress is shown, and between two lines of it."""

WIDTH = 60
"""Characters of a line."""

BAR = 10
"""Characters of a bar."""


def describe_progress(count: int, total: int, unit: str, seconds: float) -> str:
    """Return a bar, how much is done, how fast, and the time that is left.

    >>> describe_progress(45, 90, "losses", 9.0)
    '█████░░░░░ 45 of 90 losses, 5 per second, 9.0 s left'
    """
    filled = BAR * count // max(1, total)
    text = f"{'█' * filled}{'░' * (BAR - filled)} {count:,} of {total:,} {unit}"
    if not count or seconds <= 0:
        return text
    return f"{text}, {count / seconds:.3g} per second, {format_duration(seconds * (total - count) / count)} left"


class ProgressLine:
    """A line that is shown once work takes longer than ``QUIET_SECONDS``, and cleared at its end.

    Args:
        log: where it is written; none: the notebook or the terminal, and nowhere if there is neither.
        clock: returns seconds that never go backwards.
    """

    def __init__(self, log: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.log = log or (sys.stderr if sys.stderr.isatty() else None)
        self.in_notebook = log is None and has_widgets()
        self.clock = clock
        self.next = clock() + QUIET_SECONDS
        self.is_visible = False
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Show a text, unless the last one is less than ``PERIOD`` old."""
        if self.clock() >= self.next:
            self.next = self.clock() + PERIOD
            self.is_visible = True
            self._write(text)

    def clear(self) -> None:
        """Clear the line, if there is one."""
        if self.is_visible:
            self._write("")

    def _write(self, text: str) -> None:
        if self.in_notebook:
            from IPython.display import DisplayHandle

            if self._handle is None:
                self._handle = DisplayHandle()
                self._handle.display({"text/plain": text}, raw=True)
            else:
                self._handle.update({"text/plain": text}, raw=True)
        elif self.log is not None:
            print(f"\r{text:<{WIDTH}}", end="" if text else "\r", file=self.log, flush=True)
