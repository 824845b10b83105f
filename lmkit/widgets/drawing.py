"""A model as a picture: layers, shapes, parameters; without a framework.

The pictures are inline SVG with the colours of JupyterLab's theme.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from lmkit.display.figure import BLUE, GREY, VERMILLION
from lmkit.display.units import format_count
from lmkit.specs.models import Layer
from lmkit.specs.signature import Shape

WIDTH, HEIGHT, LINE = 560, 204, 15
CENTER_Y, UNIT_DISTANCE, RADIUS = 76, 19, 5.5
"""Columns of units: vertical centre, distance between units, radius."""

MAX_UNITS = 7
"""Maximum number of units to draw per layer; of more, the first and the last three."""

CHARACTER_WIDTH = 6
"""Approximate width of a character; if names with shapes overlap, shapes get their own line."""

MAX_COLUMNS = 6
"""Maximum number of layers to draw; of more, the first three and the last two."""


class Column(NamedTuple):
    """A drawn layer, with the following layers without matrix products or a change of shape.

    Attributes:
        kind: the kind of the layer, such as ``dense``; "input"; or "" for omitted layers.
        shape: the output shape.
        parameters: number of parameters of the layer and of the following ones.
        after: the kinds of the following layers, such as a normalization or an activation.
    """

    kind: str
    shape: tuple[int, ...]
    parameters: int
    after: tuple[str, ...] = ()


def columns(shape: Shape, layers: Sequence[Layer]) -> list[Column]:
    """Return the layers as columns, from the input on; equal blocks are one column."""
    drawn_columns = [Column("input", shape, 0)]
    blocks = [layer for layer in layers if layer.block is not None]
    for layer in layers:
        if layer.block is not None:
            if layer is blocks[-1]:
                inside = dict.fromkeys(b.kind for b in blocks if not b.parameters and b.kind not in ("add", "dropout"))
                number = layer.block + 1
                name = "block" if number == 1 else f"{number} blocks"
                drawn_columns.append(Column(name, layer.shape, sum(b.parameters for b in blocks), tuple(inside)))
        elif not layer.multiplications and layer.shape == drawn_columns[-1].shape and drawn_columns[-1].kind != "input":
            last = drawn_columns[-1]
            drawn_columns[-1] = last._replace(
                parameters=last.parameters + layer.parameters, after=(*last.after, layer.kind)
            )
        else:
            drawn_columns.append(Column(layer.kind, layer.shape, layer.parameters))
    return drawn_columns


def elide(drawn: Sequence[Column]) -> list[Column]:
    """Reduce to at most ``MAX_COLUMNS`` columns; the middle ones are replaced by their number."""
    if len(drawn) <= MAX_COLUMNS:
        return list(drawn)
    left_out = drawn[3:-2]
    gap = Column("", (), sum(c.parameters for c in left_out), (f"{len(left_out)} more",))
    return [*drawn[:3], gap, *drawn[-2:]]


def model_svg(shape: Shape, layers: Sequence[Layer]) -> str:
    """Return the model as an inline SVG with a description."""
    drawn = elide(columns(shape, layers))
    gap = min(150.0, (WIDTH - 90) / max(1, len(drawn) - 1))
    left = (WIDTH - gap * (len(drawn) - 1)) / 2
    xs = [left + gap * i for i in range(len(drawn))]
    lines, marks, labels = [], [], []
    for (a, column), (b, following) in pairwise(zip(xs, drawn, strict=True)):
        lines.append(_connections(a, column, b, following))
    widths = [min(gap, 2 * x, 2 * (WIDTH - x)) for x in xs]
    two_lines = any(CHARACTER_WIDTH * len(_name(column)) > width for column, width in zip(drawn, widths, strict=True))
    for i, (x, column) in enumerate(zip(xs, drawn, strict=True)):
        colour = GREY if not i else VERMILLION if i == len(drawn) - 1 else BLUE
        marks.append(_units(x, column, colour))
        labels.append(_label(x, column, two_lines))
    text = "; ".join(_column_text(column) for column in drawn)
    return (
        f'<svg class="lkc-drawing" viewBox="0 0 {WIDTH} {HEIGHT + LINE * two_lines}" role="img" '
        f'aria-label="{html.escape(text)}">'
        f'<path class="lkc-lines" d="{"".join(lines)}"/>{"".join(marks)}{"".join(labels)}</svg>'
    )


def count(n: int) -> str:
    """Format a count, exact up to a million.

    >>> count(4160), count(13_860_000)
    ('4,160', '13.9 M')
    """
    return format_count(n, ("M", "G", "T"))


# -- parts of the picture -------------------------------------------------------------------------


def _heights(column: Column) -> list[float]:
    """Vertical positions of the units of a layer; empty for layers with other than one dimension."""
    if len(column.shape) != 1:
        return []
    n = column.shape[0]
    count = min(n, MAX_UNITS)
    top = CENTER_Y - UNIT_DISTANCE * (count - 1) / 2
    heights = [top + UNIT_DISTANCE * i for i in range(count)]
    return heights if n <= MAX_UNITS else heights[:3] + heights[-3:]


def _units(x: float, column: Column, colour: str) -> str:
    if not column.kind:
        return "".join(f'<circle cx="{x + d:.0f}" cy="{CENTER_Y}" r="2.2" fill="{GREY}"/>' for d in (-9, 0, 9))
    heights = _heights(column)
    if not heights:
        return (
            f'<rect x="{x - 17:.0f}" y="{CENTER_Y - 45}" width="34" height="90" rx="5" '
            f'fill="{colour}" fill-opacity=".15" stroke="{colour}" stroke-width="1.5"/>'
        )
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.1f}" r="{RADIUS}"/>' for y in heights)
    more = ""
    if column.shape[0] > MAX_UNITS:
        more = "".join(f'<circle cx="{x:.0f}" cy="{CENTER_Y + d}" r="1.5" opacity=".7"/>' for d in (-6, 0, 6))
    return f'<g fill="{colour}">{dots}{more}</g>'


def _connections(a: float, column: Column, b: float, following: Column) -> str:
    """Lines between all units before a dense layer, else a single line."""
    start, end = _heights(column), _heights(following)
    if following.kind == "dense" and start and end:
        return "".join(f"M{a:.0f} {y:.0f}L{b:.0f} {z:.0f}" for y in start for z in end)
    return f"M{a + 22:.0f} {CENTER_Y}H{b - 22:.0f}"


def _name(column: Column) -> str:
    return f"{column.kind} {_shape(column.shape)}" if column.kind else ""


def _column_text(column: Column) -> str:
    parameters = f"{count(column.parameters)} parameters" if column.parameters else ""
    return ", ".join(t for t in (_name(column), *column.after, parameters) if t)


def _label(x: float, column: Column, two_lines: bool) -> str:
    name = column.kind if two_lines else _name(column)
    after = ", ".join(column.after) if column.kind else "layers"
    rows = [
        ("lkc-strong", name or column.after[0]),
        ("lkc-soft", _shape(column.shape) if two_lines else ""),
        ("lkc-soft", after),
        ("lkc-soft", f"{count(column.parameters)} params" if column.parameters else ""),
    ]
    # empty rows are skipped
    visible = [(kind, text) for kind, text in rows if text]
    return "".join(
        f'<text class="{kind}" x="{x:.0f}" y="{164 + LINE * i}">{html.escape(text)}</text>'
        for i, (kind, text) in enumerate(visible)
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
