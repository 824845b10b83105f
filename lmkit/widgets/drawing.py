"""A model as a picture: layers, shapes, parameters; free of any framework.

The pictures are inline SVG. Their inks come from JupyterLab's own variables, so that they follow its theme.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from lmkit.plots import BLUE, GREY, VERMILLION
from lmkit.specs.models import Layer
from lmkit.specs.signature import Shape

WIDTH, HEIGHT, LINE = 560, 204, 15
MIDDLE, STEP, RADIUS = 76, 19, 5.5
"""Of the columns of units: height of their middle, distance from one to the next, size."""

UNITS = 7
"""Units of a layer that are drawn at most; of more, the first and the last three."""

LETTER = 6
"""About the width of a letter; where a name and its shape do not fit beside the next, shapes have their own line."""

COLUMNS = 6
"""Layers that are drawn at most; of more, the first three and the last two."""


class Column(NamedTuple):
    """A layer as it is drawn, with what follows without products of matrices or a change of shape.

    Attributes:
        kind: dense …; "input"; or "" for layers that are left out.
        shape: of what comes out.
        parameters: of its own, and of what follows.
        after: the kinds of the layers that follow, such as a normalization or an activation.
    """

    kind: str
    shape: tuple[int, ...]
    parameters: int
    after: tuple[str, ...] = ()


def columns(shape: Shape, layers: Sequence[Layer]) -> list[Column]:
    """The layers as they are drawn, from the input on; blocks that are alike are one column."""
    found = [Column("input", shape, 0)]
    blocks = [layer for layer in layers if layer.block is not None]
    for layer in layers:
        if layer.block is not None:
            if layer is blocks[-1]:
                inside = dict.fromkeys(b.kind for b in blocks if not b.parameters and b.kind not in ("add", "dropout"))
                number = layer.block + 1
                name = "block" if number == 1 else f"{number} blocks"
                found.append(Column(name, layer.shape, sum(b.parameters for b in blocks), tuple(inside)))
        elif not layer.multiplications and layer.shape == found[-1].shape and found[-1].kind != "input":
            last = found[-1]
            found[-1] = last._replace(parameters=last.parameters + layer.parameters, after=(*last.after, layer.kind))
        else:
            found.append(Column(layer.kind, layer.shape, layer.parameters))
    return found


def elide(drawn: Sequence[Column]) -> list[Column]:
    """At most ``COLUMNS``, the middle ones left out and counted."""
    if len(drawn) <= COLUMNS:
        return list(drawn)
    left_out = drawn[3:-2]
    gap = Column("", (), sum(c.parameters for c in left_out), (f"{len(left_out)} more",))
    return [*drawn[:3], gap, *drawn[-2:]]


def model_svg(shape: Shape, layers: Sequence[Layer]) -> str:
    """The model as an inline SVG, with a text that says the same."""
    drawn = elide(columns(shape, layers))
    gap = min(150.0, (WIDTH - 90) / max(1, len(drawn) - 1))
    left = (WIDTH - gap * (len(drawn) - 1)) / 2
    xs = [left + gap * i for i in range(len(drawn))]
    lines, marks, labels = [], [], []
    for (a, column), (b, following) in pairwise(zip(xs, drawn, strict=True)):
        lines.append(_connections(a, column, b, following))
    rooms = [min(gap, 2 * x, 2 * (WIDTH - x)) for x in xs]
    apart = any(LETTER * len(_name(column)) > room for column, room in zip(drawn, rooms, strict=True))
    for i, (x, column) in enumerate(zip(xs, drawn, strict=True)):
        colour = GREY if not i else VERMILLION if i == len(drawn) - 1 else BLUE
        marks.append(_units(x, column, colour))
        labels.append(_label(x, column, apart))
    words = "; ".join(_words(column) for column in drawn)
    return (
        f'<svg class="lkc-drawing" viewBox="0 0 {WIDTH} {HEIGHT + LINE * apart}" role="img" '
        f'aria-label="{html.escape(words)}">'
        f'<path class="lkc-lines" d="{"".join(lines)}"/>{"".join(marks)}{"".join(labels)}</svg>'
    )


def count(n: int) -> str:
    """A number of things: exact up to a million.

    >>> count(4160), count(13_860_000)
    ('4,160', '13.9 M')
    """
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if n >= unit:
            return f"{n / unit:.3g} {name}"
    return f"{n:,}"


# -- parts of the picture -------------------------------------------------------------------------


def _heights(column: Column) -> list[float]:
    """Where the units of a layer are drawn, from the top; empty for what has no units one under the other."""
    if len(column.shape) != 1:
        return []
    n = column.shape[0]
    places = min(n, UNITS)
    top = MIDDLE - STEP * (places - 1) / 2
    heights = [top + STEP * i for i in range(places)]
    return heights if n <= UNITS else heights[:3] + heights[-3:]


def _units(x: float, column: Column, colour: str) -> str:
    if not column.kind:
        return "".join(f'<circle cx="{x + d:.0f}" cy="{MIDDLE}" r="2.2" fill="{GREY}"/>' for d in (-9, 0, 9))
    heights = _heights(column)
    if not heights:
        return (
            f'<rect x="{x - 17:.0f}" y="{MIDDLE - 45}" width="34" height="90" rx="5" '
            f'fill="{colour}" fill-opacity=".15" stroke="{colour}" stroke-width="1.5"/>'
        )
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.1f}" r="{RADIUS}"/>' for y in heights)
    more = ""
    if column.shape[0] > UNITS:
        more = "".join(f'<circle cx="{x:.0f}" cy="{MIDDLE + d}" r="1.5" opacity=".7"/>' for d in (-6, 0, 6))
    return f'<g fill="{colour}">{dots}{more}</g>'


def _connections(a: float, column: Column, b: float, following: Column) -> str:
    """Lines from every unit to every unit where a dense layer follows; else one line."""
    start, end = _heights(column), _heights(following)
    if following.kind == "dense" and start and end:
        return "".join(f"M{a:.0f} {y:.0f}L{b:.0f} {z:.0f}" for y in start for z in end)
    return f"M{a + 22:.0f} {MIDDLE}H{b - 22:.0f}"


def _name(column: Column) -> str:
    return f"{column.kind} {_shape(column.shape)}" if column.kind else ""


def _words(column: Column) -> str:
    parameters = f"{count(column.parameters)} parameters" if column.parameters else ""
    return ", ".join(t for t in (_name(column), *column.after, parameters) if t)


def _label(x: float, column: Column, apart: bool) -> str:
    name = column.kind if apart else _name(column)
    after = ", ".join(column.after) if column.kind else "layers"
    rows = [
        ("lkc-strong", name or column.after[0]),
        ("lkc-soft", _shape(column.shape) if apart else ""),
        ("lkc-soft", after),
        ("lkc-soft", f"{count(column.parameters)} params" if column.parameters else ""),
    ]
    # the lines move up where there is nothing to say
    told = [(kind, text) for kind, text in rows if text]
    return "".join(
        f'<text class="{kind}" x="{x:.0f}" y="{164 + LINE * i}">{html.escape(text)}</text>'
        for i, (kind, text) in enumerate(told)
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
