"""Size limits for the outputs of cells: an executed notebook keeps what fits and names what it leaves out.

Of printed text both ends are kept; of all other outputs, those that fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

from lmkit.display.units import format_bytes

MAX_END = 250_000
"""Characters kept of the beginning of a long text, and as many of its end."""

MAX_SIZE = 20_000_000
"""Characters of all other outputs, such as pictures in base64: of one cell in a notebook, of all cells on a page."""

MAX_MESSAGE = 2_000
"""Characters kept of an error's message."""


class TruncatedText:
    """A text that arrives in pieces, of which both ends are kept.

    Args:
        source: where the full text is, as the end of the sentence that replaces its middle.
    """

    def __init__(self, source: str = "") -> None:
        self.source, self.length = source, 0
        self._head, self._tail = "", ""

    @property
    def long(self) -> bool:
        """Whether the text is truncated; from then on ``add`` returns the text since it became so."""
        return self.length > MAX_END

    def add(self, piece: str) -> str:
        """Append a piece; returns the piece, or of a truncated text what replaces all since it became so."""
        room = MAX_END - self.length
        self.length += len(piece)
        if not self.long:
            return piece
        if room >= 0:
            self._head, piece = piece[:room], piece[room:]
        self._tail = (self._tail + piece[-MAX_END:])[-MAX_END:]
        missing = self.length - MAX_END - len(self._tail)
        omission = f"\n[… {missing:,} characters omitted{self.source} …]\n" if missing else ""
        return self._head + omission + self._tail


def truncate(text: str) -> str:
    """Return a text, or both ends of a long one.

    >>> len(truncate("x" * 10**7)) < 2 * MAX_END + 100
    True
    """
    return TruncatedText().add(text)


class OutputBudget:
    """Limits the size of outputs other than printed text, in the order in which they arrive.

    Args:
        size: characters of all outputs.
        text: characters of one text format, such as HTML.
    """

    def __init__(self, size: int = MAX_SIZE, text: int = MAX_SIZE) -> None:
        self.remaining, self.text = size, text

    def select(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the formats of an output that fit, small ones first; its plain text names those that do not."""
        selected, lines = set(), [truncate(data["text/plain"])] if "text/plain" in data else []
        for size, kind in sorted((_size(v), k) for k, v in data.items() if k != "text/plain"):
            if size > min(self.remaining, self.text if kind.startswith("text/") else self.remaining):
                lines.insert(0, f"[{kind} of {format_bytes(size)} omitted: it is too large]")
                continue
            self.remaining -= size
            selected.add(kind)
        formats = {k: v for k, v in data.items() if k in selected}
        return {**formats, "text/plain": "\n".join(lines)} if lines else formats


def truncate_error(content: MutableMapping[str, Any]) -> None:
    """Truncate an error's message and traceback, in place."""
    message, traceback = content["evalue"], "\n".join(content["traceback"])
    if len(message) > MAX_MESSAGE:
        content["evalue"] = f"{message[:MAX_MESSAGE]} [… {len(message) - MAX_MESSAGE:,} characters omitted …]"
    if len(traceback) > 2 * MAX_END:
        content["traceback"] = truncate(traceback).split("\n")


def _size(value: Any) -> int:
    return len(value if isinstance(value, str) else json.dumps(value))
