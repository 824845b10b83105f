"""Signals on the command line: SIGTERM and SIGHUP are handled as Ctrl-C is, so that runs and trials save a checkpoint.

Slurm, systemd, ``docker stop`` and ``timeout`` send SIGTERM; a terminal or an ssh connection that is closed, SIGHUP.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))

MAX_SIGNALS = 1024
"""Signals of a command that are looked at."""

STATUS = 128
"""Added to the number of a signal, it is the exit status of a program that the signal ended."""


class Termination:
    """The signals that asked this process to end.

    The system writes the number of each signal to a pipe, whichever handler it has at that moment.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._numbers = b""
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._previous = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def close(self) -> None:
        """Read the signals so far, and stop noting them."""
        signal.set_wakeup_fd(self._previous)
        with contextlib.suppress(BlockingIOError):
            self._numbers = os.read(self._reader, MAX_SIGNALS)
        os.close(self._reader)
        os.close(self._writer)

    def status(self, otherwise: int) -> int:
        """Return the exit status after a signal, once closed; without one, ``otherwise``."""
        numbers = [number for number in self._numbers if number in (signal.SIGINT, *TERMINATING)]
        return STATUS + numbers[-1] if numbers else otherwise

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Do what Ctrl-C does at this moment."""
        if number != signal.SIGTERM:
            _silence_closed_terminal()
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:  # ignored, as in a shell's background
            raise KeyboardInterrupt


@contextmanager
def termination() -> Iterator[Termination | None]:
    """Handle SIGTERM and SIGHUP as Ctrl-C within the ``with`` block; SIGHUP that is ignored (nohup) stays so.

    Yields None in another thread than the main one, which gets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    result = Termination()
    handled = [s for s in TERMINATING if signal.getsignal(s) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, result.handle)
    try:
        yield result
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        result.close()


def _silence_closed_terminal() -> None:
    """Send what is printed nowhere: a write to a terminal that is closed would fail, in the middle of a checkpoint."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and stream.isatty():
            os.dup2(null, stream.fileno())
    os.close(null)
