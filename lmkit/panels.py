"""Panels that draw themselves: trials as lines over many axes, and bars of shares."""

from __future__ import annotations

from typing import Any, NamedTuple

from lmkit.plots import BLUE, GREY, INK, RULE


class Axis(NamedTuple):
    """One of several upright axes side by side.

    Attributes:
        title: what it shows.
        ticks: places from 0 (below) to 1, each with what is written there.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]


class Lines(NamedTuple):
    """Lines that cross all axes.

    Attributes:
        name: what the legend calls them.
        colour: as #rrggbb.
        numbers: of each, what it is known by.
        places: of each, where it crosses each axis, from 0 to 1.
        words: of each, what is told on each axis.
        look: ``first`` stands before the others, ``faint`` behind them, ``dotted`` too.
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
"""Look → width in pixels, opacity, and how it is drawn, in plotly's words."""


class Parallel(NamedTuple):
    """Parallel coordinates (Inselberg, 1985): an axis a dimension, a line a thing."""

    axes: tuple[Axis, ...]
    lines: tuple[Lines, ...]

    def plotly(self, figure: Any, column: int) -> None:
        """Draws it into a column of a figure. As plain lines: plotly's own kind of trace needs WebGL."""
        import plotly.graph_objects as go

        for i in range(len(self.axes)):
            figure.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line={"color": GREY, "width": 1}, layer="below",
                             row=1, col=column)  # fmt: skip
        width = len(self.axes)
        for lines in self.lines:
            gap, (thick, opacity, dash) = [None], LOOKS[lines.look]
            figure.add_trace(
                go.Scatter(
                    x=[v for _ in lines.places for v in [*range(width), *gap]],
                    y=[v for own in lines.places for v in [*own, *gap]],
                    text=[v for own in lines.words for v in [*own, ""]],
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
            for place, text in axis.ticks:
                figure.add_annotation(
                    text=text, y=place, xanchor="left" if i < width - 1 else "right", xshift=4 if i < width - 1 else -4,
                    font={"size": 11}, bgcolor="rgba(255,255,255,0.7)", borderpad=1, **common,
                )  # fmt: skip
        figure.update_xaxes(visible=False, range=[-0.15, width - 0.85], row=1, col=column)
        figure.update_yaxes(visible=False, range=[-0.06, 1.15], row=1, col=column)

    def picture(self, ax: Any, entries: dict[str, Any]) -> None:
        """Draws it into an axes of matplotlib."""
        last = len(self.axes) - 1
        for depth, lines in enumerate(self.lines):
            thick, opacity, dash = LOOKS[lines.look]
            for places in lines.places:
                (drawn,) = ax.plot(
                    range(len(places)), places, color=lines.colour, linewidth=0.75 * thick, alpha=opacity,
                    linestyle=":" if dash == "dot" else "-", zorder=2 + depth,
                )  # fmt: skip
                entries.setdefault(lines.name, drawn)
        for i, axis in enumerate(self.axes):
            ax.axvline(i, 0.05, 0.88, color=GREY, linewidth=0.9, zorder=1)
            ax.text(i, 1.07, axis.title, ha="center", va="bottom", color=INK, fontweight="bold")
            for place, text in axis.ticks:
                ax.text(
                    i + (0.03 if i < last else -0.03), place, text, ha="left" if i < last else "right", va="center",
                    color=INK, fontsize=7.5, zorder=30, bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.8},
                )  # fmt: skip
        ax.set_xlim(-0.2, last + 0.2)
        ax.set_ylim(-0.06, 1.15)
        ax.axis("off")


class Bars(NamedTuple):
    """Shares of a whole, a bar each, the first above.

    Attributes:
        title: what the shares are of.
        names: of the bars.
        shares: from 0 to 1.
    """

    title: str
    names: tuple[str, ...]
    shares: tuple[float, ...]

    def plotly(self, figure: Any, column: int) -> None:
        """Draws it into a column of a figure."""
        import plotly.graph_objects as go

        figure.add_trace(
            go.Bar(
                x=self.shares, y=self.names, orientation="h", marker={"color": BLUE}, showlegend=False, width=0.55,
                text=[f"{s:.0%}" for s in self.shares], textposition="outside", cliponaxis=False,
                hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            ),
            row=1,
            col=column,
        )  # fmt: skip
        figure.update_xaxes(title_text=self.title, tickformat=".0%", range=[0, 1.05], row=1, col=column)
        figure.update_yaxes(autorange="reversed", ticksuffix=" ", row=1, col=column)

    def picture(self, ax: Any, entries: dict[str, Any]) -> None:
        """Draws it into an axes of matplotlib."""
        from matplotlib.ticker import PercentFormatter

        ax.barh(range(len(self.names)), self.shares, height=0.55, color=BLUE, zorder=2)
        for i, share in enumerate(self.shares):
            ax.text(share + 0.01, i, f"{share:.0%}", va="center", color=INK)
        ax.set_yticks(range(len(self.names)), self.names)
        ax.set_ylim(max(len(self.names), 3) - 0.4, -0.6)  # few bars are no thicker than many
        ax.set_xlim(0, 1.08)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xlabel(self.title, color=INK)
        ax.grid(color=RULE, linewidth=0.6, axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(colors=INK, length=3)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_color(GREY)
