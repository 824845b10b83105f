"""A table that shows itself, wherever it is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NONE = "nothing to show"


class Written(float):
    """A number with how it is written: it is sorted and aligned as the number, and shown as the text.

    Attributes:
        text: how it is shown.
        span: the interval that it lies in.
        band: what cannot be told apart, where there is such: a picture of the number has it behind.

    >>> max(Written(0.012, "12 ms"), Written(0.0003, "300 µs")).text
    '12 ms'
    """

    def __new__(cls, value: float, text: str, **_: Any) -> Written:
        """The number itself."""
        return super().__new__(cls, value)

    def __init__(
        self, value: float, text: str, *, span: tuple[float, float] | None = None,
        band: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        self.text, self.span, self.band = text, span, band


class Linked(str):
    """A text that leads somewhere.

    Attributes:
        href: where to, as in HTML.

    >>> Linked("7", "trials/0007/train.ipynb")
    '7'
    """

    href: str

    def __new__(cls, text: str, href: str) -> Linked:
        """The text itself."""
        made = super().__new__(cls, text)
        made.href = href
        return made


@dataclass(frozen=True)
class Table:
    """A small table that shows itself as script-free HTML and as aligned text.

    Attributes:
        title: what it is.
        columns: the names of the columns.
        rows: cells; numbers are right-aligned and shown with four significant digits, None is shown as –.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def text(self) -> str:
        """The table as aligned text."""
        if not self.rows:
            return f"{self.title}\n{NONE}"
        cells = [self.columns, *([written(c) for c in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        right = [self._numeric(i) for i in range(len(self.columns))]
        lines = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, lines[0], "-" * len(lines[0]), *lines[1:]])

    @property
    def html(self) -> str:
        """The table as HTML: no script, no style but the alignment, no link but those among the cells."""
        right = [self._numeric(i) for i in range(len(self.columns))]

        def line(tag: str, row: Sequence[Any]) -> str:
            cells = "".join(
                f'<{tag} style="text-align: {"right" if r else "left"}">{_unbroken(c)}</{tag}>'
                for c, r in zip(row, right, strict=True)
            )
            return f"<tr>{cells}</tr>"

        head = f"<thead>{line('th', self.columns)}</thead>\n" if self.rows else ""
        body = "\n".join(line("td", row) for row in self.rows) or f"<tr><td>{NONE}</td></tr>"
        return f"<table>\n<caption>{html.escape(self.title)}</caption>\n{head}<tbody>\n{body}\n</tbody>\n</table>"

    def _numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(isinstance(c, int | float) and not isinstance(c, bool) for c in cells)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def _unbroken(value: Any) -> str:
    """A cell as HTML, a number on one line with its unit."""
    text = html.escape(written(value))
    if isinstance(value, Linked):
        return f'<a href="{html.escape(value.href)}">{text}</a>'
    return text.replace(" ", "&nbsp;") if isinstance(value, Written) else text


def written(value: Any) -> str:
    """A cell as text."""
    if value is None or value != value:  # NaN is the one value that differs from itself
        return "–"
    if isinstance(value, Written):
        return value.text
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).splitlines())
