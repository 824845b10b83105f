"""Debounced and background work, so that forms stay responsive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lmkit.widgets import CELL


class Debounced:
    """Call an action once it has not been requested for some time; immediately without an event loop."""

    def __init__(self, action: Callable[[], None], seconds: float) -> None:
        self.action, self.seconds = action, seconds
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Request the action."""
        if self._handle:
            self._handle.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.action()
        else:
            self._handle = loop.call_later(self.seconds, self.action)


SECONDS_BEFORE = 0.05
"""Seconds until background work starts: first the page is sent what the current code has displayed, since both need the
interpreter."""


def in_background(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Run ``work`` in a thread and pass its result to ``then`` in this one; synchronously without an event loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        then(work())
        return

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(then, result)

    thread = threading.Thread(target=run, daemon=True, name="lmkit-preview")
    loop.call_later(SECONDS_BEFORE, thread.start)


class Loop:
    """The event loop of the thread that made this, for work that a message asks for.

    Messages of a page may be handled in the thread of a subshell, which ends when the page is reloaded; a form that was
    made there would end with it.
    """

    def __init__(self) -> None:
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def call(self, action: Callable[[], None]) -> None:
        """Call an action in the loop soon; immediately without a loop."""
        if self._loop is None or self._loop.is_closed():
            action()
        else:
            self._loop.call_soon_threadsafe(action, context=CELL.copy())
