"""What cells put out, held to a size: a notebook that prints or shows too much keeps what fits, and says what it lacks.

Of printed text the two ends are kept, and of all else the kinds for which there is room.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

END = 250_000
"""Characters that are kept of the beginning of a long text, and as many of its end."""

ROOM = 20_000_000
"""Characters that may be taken by all else, such as pictures in base64: in a notebook by those of one cell, on a page
by those of all."""

MESSAGE = 2_000
"""Characters of an error's message that are kept."""


class Text:
    """A text that comes in pieces, of which the two ends are kept.

    Args:
        whole: where all of it is, to be said where some is lacking.
    """

    def __init__(self, whole: str = "") -> None:
        self.whole, self.length = whole, 0
        self._head, self._tail = "", ""

    @property
    def long(self) -> bool:
        """Whether it outgrew its beginning: what ``add`` gives stands for all that is added from then on."""
        return self.length > END

    def add(self, piece: str) -> str:
        """What is to be seen of the piece; where the text is long, of what came since it became so."""
        room = END - self.length
        self.length += len(piece)
        if not self.long:
            return piece
        if room >= 0:
            self._head, piece = piece[:room], piece[room:]
        self._tail = (self._tail + piece[-END:])[-END:]
        missing = self.length - END - len(self._tail)
        said = f"\n[… {missing:,} characters are left out here{self.whole} …]\n" if missing else ""
        return self._head + said + self._tail


def cut(text: str) -> str:
    """A text, or the two ends of a long one.

    >>> len(cut("x" * 10**7)) < 2 * END + 100
    True
    """
    return Text().add(text)


class Held:
    """Room for outputs other than printed text, which they take as they come.

    Args:
        room: characters for all of them.
        text: characters that one kind of text, such as HTML, may have.
    """

    def __init__(self, room: int = ROOM, text: int = ROOM) -> None:
        self.left, self.text = room, text

    def data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The kinds of an output for which there is room, small ones first; its plain text says which there are not."""
        kept, said = set(), [cut(data["text/plain"])] if "text/plain" in data else []
        for size, kind in sorted((_size(v), k) for k, v in data.items() if k != "text/plain"):
            if size > min(self.left, self.text if kind.startswith("text/") else self.left):
                said.insert(0, f"[{kind} of {size / 1e6:.3g} MB is left out here: it is too large]")
                continue
            self.left -= size
            kept.add(kind)
        found = {k: v for k, v in data.items() if k in kept}
        return {**found, "text/plain": "\n".join(said)} if said else found


def hold_error(content: MutableMapping[str, Any]) -> None:
    """Keeps the beginning of an error's message and the two ends of its traceback, in place."""
    message, traceback = content["evalue"], "\n".join(content["traceback"])
    if len(message) > MESSAGE:
        content["evalue"] = f"{message[:MESSAGE]} [… {len(message) - MESSAGE:,} characters are left out here …]"
    if len(traceback) > 2 * END:
        content["traceback"] = cut(traceback).split("\n")


def _size(value: Any) -> int:
    return len(value if isinstance(value, str) else json.dumps(value))
