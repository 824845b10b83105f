"""A stand-in for the page of a live table."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

from lmkit.widgets.live_table import Live
from lmkit.widgets.monitor import Monitor

T = TypeVar("T", bound=Live | Monitor)


class Page(Generic[T]):
    """Record the messages to the page, and send messages of the page."""

    def __init__(self, live: T) -> None:
        self.live = live
        self.messages: list[dict[str, Any]] = []
        live.widget.send = lambda message, buffers=None: self.messages.append(json.loads(json.dumps(message)))

    def ask(self, kind: str, **message: Any) -> None:
        """Send a message of the page."""
        self.live._handle_message(None, {"type": kind, **message}, [])

    def take(self, kind: str) -> dict[str, Any]:
        """Return the last message of a kind, and forget all."""
        matching = [m for m in self.messages if m["type"] == kind]
        self.messages.clear()
        assert matching, f"no message of type {kind}"
        return matching[-1]
