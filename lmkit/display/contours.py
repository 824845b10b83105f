"""A map of a loss over two weights, with paths on it, as a panel that draws itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmkit.display.palette import BLUE, GREY, INK, RULE
from lmkit.display.plot import Series

LEVELS = 14
"""Contour lines."""

THINNING = 2
"""Every so many values of the map are in a plotly figure, which repeats them as text."""

SHADES = ("#A9C8DD", "#FAFBFC")
"""The colours of the lowest and of the highest loss."""


class ContourMap(NamedTuple):
    """Contour lines of a loss, from dark (low) to light (high).

    Attributes:
        axes: the names of the two weights.
        x, y: the values (n,) of each weight.
        losses: (n, n), with a row per value of y; values that are not finite are left out.
        paths: lines over the map.
        points: marked points, each with a name.
    """

    axes: tuple[str, str]
    x: np.ndarray
    y: np.ndarray
    losses: np.ndarray
    paths: tuple[Series, ...]
    points: tuple[tuple[float, float, str], ...] = ()

    @property
    def heights(self) -> np.ndarray:
        """The logarithms of the losses above the lowest one, scaled to the range from 0 to 1."""
        finite = np.where(np.isfinite(self.losses), self.losses, np.nan)
        low, high = np.nanmin(finite), np.nanmax(finite)
        offset = max(float(high - low) * 2e-4, 1e-300)
        logs = np.log(finite - low + offset) - np.log(offset)
        return np.asarray(logs / (np.nanmax(logs) or 1.0))

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure."""
        import plotly.graph_objects as go

        heights = [[None if np.isnan(v) else round(float(v), 2) for v in row[::THINNING]] for row in self.heights]
        figure.add_trace(
            go.Contour(
                x=[float(f"{v:.4g}") for v in self.x[::THINNING]],
                y=[float(f"{v:.4g}") for v in self.y[::THINNING]],
                z=heights[::THINNING],
                colorscale=[[0, SHADES[0]], [1, SHADES[1]]],
                contours={"start": 0, "end": 1, "size": 1 / LEVELS},
                line={"width": 0.5, "color": GREY},
                showscale=False,
                hoverinfo="x+y",
            ),
            row=1,
            col=column,
        )
        for path in self.paths:
            figure.add_trace(
                go.Scatter(
                    x=path.x,
                    y=path.y,
                    name=path.name,
                    legendgroup=path.name,
                    mode="lines+markers",
                    line={"color": path.colour, "width": 2},
                    marker={"size": 4},
                ),
                row=1,
                col=column,
            )
        for x, y, name in self.points:
            figure.add_trace(
                go.Scatter(
                    x=[x],
                    y=[y],
                    hovertext=name,
                    hoverinfo="text+x+y",
                    showlegend=False,
                    marker={"color": INK, "size": 9, "symbol": "cross-thin", "line": {"width": 2, "color": INK}},
                    mode="markers",
                ),
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=self.axes[0], range=[float(self.x[0]), float(self.x[-1])], row=1, col=column)
        figure.update_yaxes(title_text=self.axes[1], range=[float(self.y[0]), float(self.y[-1])], row=1, col=column)

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:
        """Draw the panel into axes of matplotlib, and add its legend entries."""
        from matplotlib.colors import LinearSegmentedColormap

        heights = np.ma.masked_invalid(self.heights)
        levels = np.linspace(0, 1, LEVELS + 1)
        colours = LinearSegmentedColormap.from_list("loss", SHADES)
        ax.contourf(self.x, self.y, heights, levels=levels, cmap=colours)
        ax.contour(self.x, self.y, heights, levels=levels, colors=BLUE, linewidths=0.4, alpha=0.4)
        for depth, path in enumerate(self.paths):
            ax.plot(path.x, path.y, color="white", linewidth=3, zorder=10 + depth)
            (line,) = ax.plot(
                path.x, path.y, color=path.colour, linewidth=1.4, marker="o", markersize=2.4, zorder=10 + depth
            )
            entries.setdefault(path.name, line)
        for x, y, _ in self.points:
            ax.plot([x], [y], "+", color=INK, markersize=8, zorder=30)
        ax.set_xlim(self.x[0], self.x[-1])
        ax.set_ylim(self.y[0], self.y[-1])
        ax.set_xlabel(self.axes[0], color=INK)
        ax.set_ylabel(self.axes[1], color=INK)
        ax.tick_params(colors=INK, length=3)
        for side in ax.spines.values():
            side.set_color(RULE)
