"""Panels that draw themselves: parallel coordinates of trials, bars of shares, bars of signed numbers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

from lmkit.display.axes import style_axes
from lmkit.display.palette import BLUE, GREY, INK, VERMILLION


class Axis(NamedTuple):
    """One vertical axis of parallel coordinates.

    Attributes:
        title: its title.
        ticks: positions from 0 (bottom) to 1, each with its text.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]


class Lines(NamedTuple):
    """Lines that cross all axes.

    Attributes:
        name: the name in the legend.
        colour: as #rrggbb.
        numbers: the number of each line's trial.
        places: for each line, its position on each axis, from 0 to 1.
        words: for each line, its text on each axis.
        look: ``first`` is drawn before the others, ``faint`` and ``dotted`` behind them.
    """

    name: str
    colour: str
    numbers: tuple[int, ...]
    places: tuple[tuple[float, ...], ...]
    words: tuple[tuple[str, ...], ...]
    look: str = "plain"


LOOKS = {
    "first": (3.0, 1.0, "solid"),
    "plain": (1.4, 0.9, "solid"),
    "faint": (1.0, 0.45, "solid"),
    "dotted": (1.0, 0.7, "dot"),
}
"""Look → width in pixels, opacity, and plotly's dash."""


class Parallel(NamedTuple):
    """Parallel coordinates (Inselberg, 1985): one axis per dimension, one line per trial."""

    axes: tuple[Axis, ...]
    lines: tuple[Lines, ...]

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure, as plain lines: plotly's ``Parcoords`` needs WebGL."""
        import plotly.graph_objects as go

        for i in range(len(self.axes)):
            figure.add_shape(
                type="line", x0=i, x1=i, y0=0, y1=1, line={"color": GREY, "width": 1}, layer="below", row=1, col=column
            )
        width = len(self.axes)
        for lines in self.lines:
            gap, (thick, opacity, dash) = [None], LOOKS[lines.look]
            figure.add_trace(
                go.Scatter(
                    x=[v for _ in lines.places for v in [*range(width), *gap]],
                    y=[v for line in lines.places for v in [*line, *gap]],
                    text=[v for line in lines.words for v in [*line, ""]],
                    customdata=[n for n in lines.numbers for _ in range(width + 1)],
                    hovertemplate="trial %{customdata}<br>%{text}<extra></extra>",
                    name=lines.name,
                    mode="lines",
                    opacity=opacity,
                    line={"color": lines.colour, "width": thick, "dash": dash},
                ),
                row=1,
                col=column,
            )
        for i, axis in enumerate(self.axes):
            common = {"x": i, "showarrow": False, "row": 1, "col": column}
            figure.add_annotation(text=f"<b>{axis.title}</b>", y=1.05, yanchor="bottom", **common)
            for position, text in axis.ticks:
                figure.add_annotation(
                    text=text,
                    y=position,
                    xanchor="left" if i < width - 1 else "right",
                    xshift=4 if i < width - 1 else -4,
                    font={"size": 11},
                    bgcolor="rgba(255,255,255,0.7)",
                    borderpad=1,
                    **common,
                )
        figure.update_xaxes(visible=False, range=[-0.15, width - 0.85], row=1, col=column)
        figure.update_yaxes(visible=False, range=[-0.06, 1.15], row=1, col=column)

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:
        """Draw the panel into axes of matplotlib."""
        last = len(self.axes) - 1
        for depth, lines in enumerate(self.lines):
            thick, opacity, dash = LOOKS[lines.look]
            for places in lines.places:
                (drawn,) = ax.plot(
                    range(len(places)),
                    places,
                    color=lines.colour,
                    linewidth=0.75 * thick,
                    alpha=opacity,
                    linestyle=":" if dash == "dot" else "-",
                    zorder=2 + depth,
                )
                entries.setdefault(lines.name, drawn)
        for i, axis in enumerate(self.axes):
            ax.axvline(i, 0.05, 0.88, color=GREY, linewidth=0.9, zorder=1)
            ax.text(i, 1.07, axis.title, ha="center", va="bottom", color=INK, fontweight="bold")
            for position, text in axis.ticks:
                ax.text(
                    i + (0.03 if i < last else -0.03),
                    position,
                    text,
                    ha="left" if i < last else "right",
                    va="center",
                    color=INK,
                    fontsize=7.5,
                    zorder=30,
                    bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.8},
                )
        ax.set_xlim(-0.2, last + 0.2)
        ax.set_ylim(-0.06, 1.15)
        ax.axis("off")


class Bars(NamedTuple):
    """Shares of a total as horizontal bars, the first on top.

    Attributes:
        title: the title of the axis.
        names: the names of the bars; equal names are drawn apart.
        shares: their lengths, from 0 to 1.
    """

    title: str
    names: tuple[str, ...]
    shares: tuple[float, ...]

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure."""
        import plotly.graph_objects as go

        figure.add_trace(
            go.Bar(
                x=self.shares,
                y=list(range(len(self.names))),  # numbers, as shortened names may be equal
                orientation="h",
                marker={"color": BLUE},
                showlegend=False,
                width=0.55,
                text=[f"{s:.0%}" for s in self.shares],
                textposition="outside",
                cliponaxis=False,
                customdata=self.names,
                hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        figure.update_xaxes(title_text=self.title, tickformat=".0%", range=[0, 1.05], row=1, col=column)
        _label_bars(figure, column, self.names)

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:  # noqa: ARG002 (part of the interface)
        """Draw the panel into axes of matplotlib."""
        from matplotlib.ticker import PercentFormatter

        ax.barh(range(len(self.names)), self.shares, height=0.55, color=BLUE, zorder=2)
        for i, share in enumerate(self.shares):
            ax.text(share + 0.01, i, f"{share:.0%}", va="center", color=INK)
        ax.set_yticks(range(len(self.names)), self.names)
        ax.set_xlim(0, 1.08)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _style_bars(ax, self.title, len(self.names))


class SignedBars(NamedTuple):
    """Numbers as horizontal bars from 0, the first on top: positive ones in blue, negative ones in vermillion.

    Attributes:
        title: the title of the axis.
        names: the names of the bars; equal names are drawn apart.
        values: their lengths.
        spans: their intervals; empty without.
    """

    title: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    spans: tuple[tuple[float, float], ...] = ()

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure."""
        import plotly.graph_objects as go

        bars = {
            "array": [high - v for v, (_, high) in zip(self.values, self.spans, strict=False)],
            "arrayminus": [v - low for v, (low, _) in zip(self.values, self.spans, strict=False)],
            "color": INK,
            "thickness": 1,
            "width": 3,
        }
        figure.add_trace(
            go.Bar(
                x=[float(f"{v:.5g}") for v in self.values],
                y=list(range(len(self.names))),  # numbers, as shortened names may be equal
                orientation="h",
                marker={"color": [BLUE if v >= 0 else VERMILLION for v in self.values]},
                error_x=bars if self.spans else None,
                showlegend=False,
                width=0.6,
                customdata=self.names,
                hovertemplate="%{customdata}: %{x:.4g}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        figure.update_xaxes(title_text=self.title, row=1, col=column)
        _label_bars(figure, column, [html.escape(_cut(html.unescape(name)), quote=False) for name in self.names])

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:  # noqa: ARG002 (part of the interface)
        """Draw the panel into axes of matplotlib."""
        colours = [BLUE if v >= 0 else VERMILLION for v in self.values]
        ax.barh(range(len(self.names)), self.values, height=0.6, color=colours, zorder=2)
        for i, (low, high) in enumerate(self.spans):
            ax.plot((low, high), (i, i), color=INK, linewidth=1, marker="|", markersize=4, zorder=3)
        ax.axvline(0, color=GREY, linewidth=0.9, zorder=3)
        ax.set_yticks(range(len(self.names)), [_cut(name) for name in self.names])
        _style_bars(ax, self.title, len(self.names))


MAX_BAR_NAME = 30
"""Characters of the name of a bar."""


def _label_bars(figure: Any, column: int, names: Sequence[str]) -> None:
    """Label the positions 0, 1, … of horizontal bars in a column of a plotly figure."""
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(names),
        range=_bar_limits(len(names)),
        ticksuffix=" ",
        row=1,
        col=column,
    )


def _style_bars(ax: Any, title: str, count: int) -> None:
    """Set the title, the limits and the lines of ``count`` horizontal bars in axes of matplotlib."""
    ax.set_ylim(*_bar_limits(count))
    ax.set_xlabel(title, color=INK)
    style_axes(ax, grid="x")


def _bar_limits(count: int) -> tuple[float, float]:
    """Return the limits of the vertical axis, the first bar on top; few bars are as thick as many."""
    return max(count, 3) - 0.4, -0.6


def _cut(name: str) -> str:
    """Return a name of at most ``MAX_BAR_NAME`` characters, cut in the middle: its end may hold a value."""
    if len(name) <= MAX_BAR_NAME:
        return name
    half = MAX_BAR_NAME // 2
    return f"{name[: half - 1]}…{name[-half:]}"
