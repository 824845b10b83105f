"""The contents of a chart as plain data: series over axes, and matrices of counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

WIDTH, HEIGHT = 720, 340
"""Size of a picture in CSS pixels."""

FEW_DECADES = 1000
"""The range, as a factor, up to which the labels of a logarithmic axis at 1, 2 and 5 of each decade have room."""


class Series(NamedTuple):
    """One line or cloud of points.

    Attributes:
        name: the name in the legend; the same name in two panels is one entry.
        x, y: the coordinates.
        colour: as #rrggbb.
        style: a line, a dashed line, points, a faint line behind the others, or a guide that is not in the legend.
        sizes: for points, their diameters in pixels; empty if all are equal.
        spans: for points, the intervals of their x.
        labels: for points, their names.
        labelled: for points, whether the name is drawn; otherwise it is shown on hover.
        symbols: for points, plotly's names of their symbols; empty for circles.
    """

    name: str
    x: list[float]
    y: list[float]
    colour: str
    style: Literal["line", "dashed", "points", "faint", "guide"] = "line"
    sizes: tuple[float, ...] = ()
    spans: tuple[tuple[float, float], ...] = ()
    labels: tuple[str, ...] = ()
    labelled: tuple[bool, ...] = ()
    symbols: tuple[str, ...] = ()


class Mark(NamedTuple):
    """An event at ``x``."""

    x: float
    text: str


class Plot(NamedTuple):
    """Series over common axes, with the visible ``y_range`` in the unit of y, and ``marks`` for events."""

    x_title: str
    y_title: str
    series: tuple[Series, ...]
    log: bool = False
    y_range: tuple[float, float] | None = None
    marks: tuple[Mark, ...] = ()
    log_x: bool = False


class Matrix(NamedTuple):
    """Counts by true class (rows) and predicted class (columns)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class DrawnPanel(Protocol):
    """A panel that draws itself (see ``lmkit.display.panels``)."""

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure."""

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:
        """Draw the panel into axes of matplotlib, and add its legend entries: name → artist."""


Panel = Plot | Matrix | DrawnPanel


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value in which ``change`` is applied to all texts, also in the tuples and lists of panels.

    >>> map_texts(Mark(1.0, "a"), str.upper)
    Mark(x=1.0, text='A')
    """
    if isinstance(value, str):
        return change(value)
    if not isinstance(value, list | tuple):
        return value
    if hasattr(value, "_fields"):
        return type(value)(*(map_texts(part, change) for part in value))
    if not value or all(isinstance(part, int | float) for part in (value[0], value[-1])):
        return value  # coordinates
    return type(value)(map_texts(part, change) for part in value)
