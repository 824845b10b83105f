"""Charts: plain data, drawn as an interactive plotly figure and as a static picture.

    lines, points, a matrix: plain numbers ──> plotly figure   for JupyterLab
                                           └──> PNG             for everywhere else

A chart in a notebook holds both and a text with the same content; together about 20 to 50 KB.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmkit.display.matrix import matrix_size
from lmkit.display.palette import BLACK, BLUE, COLOURS, GREEN, GREY, ORANGE, PURPLE, SKY, SYMBOLS, VERMILLION
from lmkit.display.picture import draw_png
from lmkit.display.plot import HEIGHT, WIDTH, Mark, Matrix, Panel, Plot, Series
from lmkit.display.plotly_figure import draw_plotly

TITLES = 60
"""Pixels of the titles above and below images."""

__all__ = [
    "BLACK",
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "SYMBOLS",
    "VERMILLION",
    "Chart",
    "Mark",
    "Matrix",
    "Plot",
    "Series",
]


@dataclass(frozen=True)
class Chart:
    """A chart as plain data, drawn when it is displayed.

    Attributes:
        title: the title.
        panels: the contents, side by side.
        text: the contents in words.
        height: of the picture in CSS pixels; of images at most this, and of a matrix what it needs.
    """

    title: str
    panels: tuple[Panel, ...]
    text: str
    height: int = HEIGHT

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, in CSS pixels."""
        matrix = next((p for p in self.panels if isinstance(p, Matrix)), None)
        if matrix:
            return matrix_size(matrix)[:2]
        ratios = [getattr(panel, "height_ratio", None) for panel in self.panels]
        if None in ratios:
            return WIDTH, self.height
        return WIDTH, min(self.height, round(max(r for r in ratios if r) * WIDTH / len(ratios)) + TITLES)

    @cached_property
    def figure(self) -> Any:
        """The chart as a ``plotly.graph_objects.Figure``."""
        return draw_plotly(self.title, self.panels, self.size)

    def png(self) -> bytes:
        """The chart as a PNG on white."""
        return self._png

    @cached_property
    def _png(self) -> bytes:
        return draw_png(self.title, self.panels, self.size)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return figure, picture and text; text/html would hide the picture where scripts do not run."""
        return {
            "application/vnd.plotly.v1+json": json.loads(self.figure.to_json()),
            "image/png": base64.b64encode(self.png()).decode(),
            "text/plain": self.text,
        }, {"image/png": {"width": self.size[0]}}

    def __repr__(self) -> str:
        return self.text
