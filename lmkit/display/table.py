"""Tables that display themselves as HTML and as text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmkit.display.units import format_number

NONE = "nothing to show"

ONE_LINE, MAX_TEXT, MAX_LAST_TEXT = 60, 160, 400
"""Characters of a cell that is not wrapped, of a longer one before it is cut, and of one in the last column."""


class FormattedNumber(float):
    """A number with its text: sorted and aligned as the number, shown as the text.

    Attributes:
        text: the number with its unit.
        span: the interval of the number.
        band: the interval of differences that are noise, drawn behind ``span``.

    >>> max(FormattedNumber(0.012, "12 ms"), FormattedNumber(0.0003, "300 µs")).text
    '12 ms'
    """

    def __new__(cls, value: float, *_: Any, **__: Any) -> FormattedNumber:
        """Return the number itself."""
        return super().__new__(cls, value)

    def __init__(
        self,
        value: float,  # noqa: ARG002 (``__new__`` takes it)
        text: str,
        *,
        span: tuple[float, float] | None = None,
        band: tuple[float, float] | None = None,
    ) -> None:
        self.text, self.span, self.band = text, span, band


class Link(str):
    """A text with a hyperlink.

    Attributes:
        href: the target, as in HTML.

    >>> Link("7", "trials/0007/train.ipynb")
    '7'
    """

    href: str

    def __new__(cls, text: str, href: str) -> Link:
        """Return the text itself."""
        link = super().__new__(cls, text)
        link.href = href
        return link


@dataclass(frozen=True)
class Table:
    """A small table that displays itself as script-free HTML and as aligned text.

    Attributes:
        title: the caption.
        columns: the names of the columns.
        rows: the cells; numbers are right-aligned, with four significant digits; None is shown as –.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def text(self) -> str:
        """The table as aligned text."""
        if not self.rows:
            return f"{self.title}\n{NONE}"
        cells = [self.columns, *([*(cut(format_cell(c)) for c in row[:-1]), format_cell(row[-1])] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        right = [self._numeric(i) for i in range(len(self.columns))]
        lines = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, lines[0], "-" * len(lines[0]), *lines[1:]])

    @property
    def html(self) -> str:
        """The table as HTML without scripts; its only links are those of the cells.

        Short texts stay on one line; one that is too long is cut, and whole in its tooltip.
        """
        right = [self._numeric(i) for i in range(len(self.columns))]
        last = len(self.columns) - 1

        def line(tag: str, row: Sequence[Any]) -> str:
            cells = (_cell_html(tag, c, right[i], MAX_LAST_TEXT if i == last else MAX_TEXT) for i, c in enumerate(row))
            return f"<tr>{''.join(cells)}</tr>"

        head = f"<thead>{line('th', self.columns)}</thead>\n" if self.rows else ""
        body = "\n".join(line("td", row) for row in self.rows) or f"<tr><td>{NONE}</td></tr>"
        caption = f'<caption style="text-align: left">{html.escape(self.title)}</caption>\n' if self.title else ""
        return f"<table>\n{caption}{head}<tbody>\n{body}\n</tbody>\n</table>"

    def _numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(isinstance(c, int | float) and not isinstance(c, bool) for c in cells)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def _cell_html(tag: str, value: Any, right: bool, limit: int) -> str:
    """Return a cell as HTML; a number stays on one line with its unit, and a short text but in the last column."""
    full = format_cell(value)
    text = html.escape(cut(full, limit))
    if isinstance(value, Link):
        text = f'<a href="{html.escape(value.href)}">{text}</a>'
    elif isinstance(value, FormattedNumber):
        text = text.replace(" ", "&nbsp;")
    breaks = isinstance(value, str) and limit < MAX_LAST_TEXT and (" " in full or "-" in full)
    kind = ' class="long"' if len(full) > ONE_LINE else " nowrap" * breaks
    style = f"text-align: {'right' if right else 'left'}"
    title = f' title="{html.escape(full)}"' if len(full) > limit else ""
    return f'<{tag}{kind} style="{style}"{title}>{text}</{tag}>'


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text of at most ``limit`` characters, with an ellipsis where it was longer.

    >>> cut("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def format_cell(value: Any) -> str:
    """Return a cell as text."""
    if value is None or value != value:  # NaN is the one value that differs from itself
        return "–"
    if isinstance(value, FormattedNumber):
        return value.text
    return format_number(value) if isinstance(value, float) else " ".join(str(value).splitlines())
