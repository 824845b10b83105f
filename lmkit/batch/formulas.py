"""Formulas in TeX, drawn by matplotlib as pictures that need no script."""

from __future__ import annotations

import base64
import html
import io
import re
from functools import lru_cache

MAX_LENGTH = 1_000
"""Characters of a formula that is drawn; a longer one is shown as its source."""

MAX_FORMULAS = 500
"""Formulas of a page that are drawn, at a fiftieth of a second; of the others, the source is shown."""

FONT_SIZE = 11.5
"""Points; the text of a page has 12."""

ENVIRONMENTS = ("align", "aligned", "equation", "gather", "gathered", "multline", "split")

_IGNORED = re.compile(r"\\(displaystyle|textstyle|limits|nonumber|notag)\b|\\(label|tag)\{[^}]*\}")
"""Commands that matplotlib does not know, and without which a formula says the same."""


@lru_cache(maxsize=512)
def formula_html(tex: str, block: bool = False, draw: bool = True) -> str:
    """Return a formula as HTML: a picture with its source as the description, else the source.

    Args:
        tex: its source without dollar signs.
        block: whether it has a line of its own.
        draw: whether it is drawn.
    """
    rows = [_row_html(row, draw) for row in _rows(tex) if row.strip()]
    if not block and len(rows) == 1:
        return rows[0]
    return "".join(f'<span class="formula-block">{row}</span>' for row in rows)


def _rows(tex: str) -> list[str]:
    """Return the lines of a formula of several lines."""
    names = "|".join(ENVIRONMENTS)
    text = re.sub(rf"\\(begin|end)\{{({names})\*?\}}", "", _IGNORED.sub("", tex))
    is_aligned = re.search(rf"\\begin\{{({names})\*?\}}", tex)
    return [row.replace("&", "") for row in text.split(r"\\")] if is_aligned or r"\\" in text else [text]


def _row_html(row: str, draw: bool) -> str:
    source = " ".join(row.split())
    picture = _draw(source) if draw else None
    if picture is None:
        return f'<code class="formula">{html.escape(source)}</code>'
    data, depth = picture
    return (
        f'<img class="formula" alt="{html.escape(source)}" style="vertical-align: -{depth:.1f}pt" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(data).decode()}">'
    )


def _draw(source: str) -> tuple[bytes, float] | None:
    """Return a formula as SVG, and how far it reaches below the line, in points; None if matplotlib cannot draw it."""
    if len(source) > MAX_LENGTH:
        return None
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.font_manager import FontProperties
        from matplotlib.mathtext import MathTextParser
    except ImportError:
        return None
    text, properties = f"${source}$", FontProperties(size=FONT_SIZE, family="serif")
    try:
        with rc_context({"svg.fonttype": "path", "svg.hashsalt": "lmkit", "mathtext.fontset": "cm"}):
            width, height, depth, _, _ = MathTextParser("path").parse(text, dpi=72, prop=properties)
            figure = Figure(figsize=(max(width, 1) / 72, max(height, 1) / 72))
            figure.text(0, depth / max(height, 1), text, fontproperties=properties)
            stream = io.BytesIO()
            figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
            return stream.getvalue(), depth
    except (ValueError, RuntimeError, RecursionError):  # a command that mathtext does not know
        return None
