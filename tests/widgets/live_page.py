"""What stands for the page of a live table."""

from __future__ import annotations

import json
from typing import Any

from lmkit.widgets.live import Live


class Page:
    """Keeps what is sent, as the page would get it, and asks as it would."""

    def __init__(self, live: Live) -> None:
        self.live, self.heard = live, []
        live.widget.send = lambda message, buffers=None: self.heard.append(json.loads(json.dumps(message)))

    def ask(self, kind: str, **message: Any) -> None:
        """Asks for something."""
        self.live._hear(None, {"type": kind, **message}, [])

    def take(self, kind: str) -> dict[str, Any]:
        """The last message of a kind; all that were heard are forgotten."""
        found = [h for h in self.heard if h["type"] == kind]
        self.heard.clear()
        assert found, f"nothing of the kind {kind}"
        return found[-1]
