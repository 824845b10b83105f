"""What is done after a while, or in the background, so that a form stays quick."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Later:
    """Calls an action once nothing has happened for a while; at once where no event loop runs."""

    def __init__(self, action: Callable[[], None], seconds: float) -> None:
        self.action, self.seconds = action, seconds
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Something happened."""
        if self._handle:
            self._handle.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.action()
        else:
            self._handle = loop.call_later(self.seconds, self.action)


def in_background(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Does ``work`` in a thread and gives its result to ``then`` in this one; at once where no event loop runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        then(work())
        return

    def go() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop has closed, and nobody waits any more
            loop.call_soon_threadsafe(then, result)

    threading.Thread(target=go, daemon=True, name="lmkit-preview").start()
