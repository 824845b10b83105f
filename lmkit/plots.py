"""Plots: plain data, drawn as an interactive plotly figure and as a static picture.

    lines, points, a matrix: plain numbers ──> plotly figure   for JupyterLab
                                           └──> PNG             for everywhere else

A chart in a notebook carries both, and a text that says the same; together about 20 to 50 KB.
"""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C",
)  # fmt: skip
BLACK = "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Told apart with any colour vision (Okabe and Ito, 2008)."""

SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "pentagon": "p"}
"""Plotly's name of a symbol → matplotlib's."""

MATRIX_NUMBERS = 20
"""Up to so many classes a confusion matrix has its counts written in."""

MATRIX_LABELS = 30
"""Of more classes than this only every so many has its label written."""

SHADE = "share of the true class"
"""What the colour of a confusion matrix tells: where no counts are written, a bar beside it gives the measure."""

PALETTE, MATRIX_PALETTE = 32, 128
"""Colours of the picture: a matrix, and clouds that cover each other, have shades to keep apart."""

WIDTH, HEIGHT = 720, 340
"""Of the picture in CSS pixels."""

SHARPNESS = 1.0
"""Pixels of the picture for each of those. More would be finer, but JupyterLab shows the picture of a figure pixel by
pixel until somebody points at it, and would cut it off."""


class Series(NamedTuple):
    """One line or cloud of points.

    Attributes:
        name: what the legend calls it; the same name in two panels is one entry.
        x, y: the numbers.
        colour: as #rrggbb.
        style: a line, a dashed line, points, a faint line behind the others, or a guide without a legend.
        sizes: of points, the diameter of each in pixels; else all are alike.
        spans: of points, the interval that each x lies in.
        labels: of points, what each is called.
        told: of points, whether that is written beside it; else it is told where the point is pointed at.
        symbols: of points, the shape of each, by plotly's name; else all are circles.
    """

    name: str
    x: list[float]
    y: list[float]
    colour: str
    style: Literal["line", "dashed", "points", "faint", "guide"] = "line"
    sizes: tuple[float, ...] = ()
    spans: tuple[tuple[float, float], ...] = ()
    labels: tuple[str, ...] = ()
    told: tuple[bool, ...] = ()
    symbols: tuple[str, ...] = ()


class Mark(NamedTuple):
    """Something that happened at ``x``."""

    x: float
    text: str


class Plot(NamedTuple):
    """Series over common axes; ``y_range`` is what to show of them, in the unit of y, ``marks`` what happened."""

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


class Drawn(Protocol):
    """A panel of another kind, which draws itself (``lmkit.panels``)."""

    def plotly(self, figure: Any, column: int) -> None:
        """Draws it into a column of a figure."""

    def picture(self, ax: Any, entries: dict[str, Any]) -> None:
        """Draws it into an axes of matplotlib; what the legend is to name is put among the entries."""


@dataclass(frozen=True)
class Chart:
    """Something to look at, as plain data that is drawn where it is shown.

    Attributes:
        title: what it is.
        panels: the plain data, one panel beside the other.
        text: what it shows, in words.
    """

    title: str
    panels: tuple[Plot | Matrix | Drawn, ...]
    text: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, in CSS pixels."""
        matrix = next((p for p in self.panels if isinstance(p, Matrix)), None)
        return _matrix_size(matrix)[:2] if matrix else (WIDTH, HEIGHT)

    @cached_property
    def figure(self) -> Any:
        """The chart as a ``plotly.graph_objects.Figure``."""
        return _plotly(self)

    def png(self) -> bytes:
        """The chart as a PNG on white."""
        return self._png

    @cached_property
    def _png(self) -> bytes:
        return _picture(self)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Figure, picture and text; no text/html, which would hide the picture where scripts do not run."""
        return {
            "application/vnd.plotly.v1+json": json.loads(self.figure.to_json()),
            "image/png": base64.b64encode(self.png()).decode(),
            "text/plain": self.text,
        }, {"image/png": {"width": self.size[0]}}

    def __repr__(self) -> str:
        return self.text


# -- plotly ---------------------------------------------------------------------------------------

FONT = "Helvetica, Arial, sans-serif"
INK, RULE = "#333333", "#E5E5E5"


def _plotly(chart: Chart) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(chart.panels), horizontal_spacing=0.12, figure=go.Figure())
    named: set[str] = set()
    for column, panel in enumerate(chart.panels, start=1):
        if isinstance(panel, Matrix):
            _plotly_matrix(figure, panel)
            continue
        if not isinstance(panel, Plot):
            panel.plotly(figure, column)
            named |= {trace.name for trace in figure.data if trace.name}
            continue
        places = placed(panel, *((n / len(chart.panels) ** (not i)) for i, n in enumerate(chart.size)))
        for series, own in zip(panel.series, places, strict=True):
            figure.add_trace(_trace(series, own, first=series.name not in named), row=1, col=column)
            named.add(series.name)
        for mark in panel.marks:
            figure.add_vline(
                mark.x, line={"color": GREY, "width": 1, "dash": "dot"}, row=1, col=column,
                annotation={"text": "▾", "hovertext": mark.text, "font": {"color": GREY}, "yanchor": "bottom"},
                annotation_position="top",
            )  # fmt: skip
        # a plotly range on a log axis is in powers of ten
        shown = [math.log10(v) for v in panel.y_range] if panel.log and panel.y_range else panel.y_range
        figure.update_xaxes(
            title_text=panel.x_title, type="log" if panel.log_x else None, dtick="D2" if panel.log_x else None,
            row=1, col=column,
        )  # fmt: skip
        figure.update_yaxes(
            title_text=panel.y_title, type="log" if panel.log else "linear", range=shown, row=1, col=column
        )
        if panel.log:
            figure.update_yaxes(dtick="D2", row=1, col=column)  # a number at 1, 2 and 5 of each power of ten
    lines = {
        "showline": True,
        "linecolor": GREY,
        "gridcolor": RULE,
        "zeroline": False,
        "automargin": True,
        "title_standoff": 10,
    }
    figure.update_xaxes(**lines)
    figure.update_yaxes(**lines)
    figure.update_layout(
        template="none",
        showlegend=len(named) > 1,
        height=chart.size[1] + 60,
        width=chart.size[0] + 100 if isinstance(chart.panels[0], Matrix) else None,  # curves are as wide as the page
        title={"text": chart.title, "x": 0.02, "font": {"size": 15}},
        font={"family": FONT, "size": 12, "color": INK},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    return figure


def _trace(series: Series, places: tuple[str, ...], first: bool) -> Any:
    import plotly.graph_objects as go

    common: dict[str, Any] = {
        "x": series.x or [None],  # else the legend leaves it out
        "y": series.y or [None],
        "name": series.name,
        "legendgroup": series.name,
        "showlegend": first and series.style != "guide",
        "opacity": 0.6 if series.style in ("faint", "points") else 1.0,
    }
    if series.style == "points":
        bars = {"array": [b - x for x, (_, b) in zip(series.x, series.spans, strict=True)],
                "arrayminus": [x - a for x, (a, _) in zip(series.x, series.spans, strict=True)],
                "thickness": 1, "color": INK} if series.spans else None  # fmt: skip
        return go.Scatter(
            **common, mode="markers+text" if series.labels else "markers", error_x=bars,
            text=[label if place else "" for label, place in zip(series.labels, places, strict=False)] or None,
            textposition=[place or "top center" for place in places] or None, textfont={"size": 11},
            hovertext=series.labels or None, hoverinfo="text+x+y" if series.labels else None,
            marker={"color": series.colour, "size": series.sizes or 6, "symbol": series.symbols or "circle"},
        )  # fmt: skip
    dash = "dash" if series.style in ("dashed", "guide") else "solid"
    width = 1 if series.style in ("faint", "guide") else 2
    mode = "lines+markers" if len(series.x) == 1 else "lines"
    return go.Scatter(**common, mode=mode, line={"color": series.colour, "width": width, "dash": dash})


def _plotly_matrix(figure: Any, matrix: Matrix) -> None:
    import plotly.graph_objects as go

    # numbered positions, for two classes may share a label once it is shortened
    places = _labelled(matrix)
    ticks = {"tickvals": list(places), "ticktext": [matrix.labels[i] for i in places]}
    figure.add_trace(
        go.Heatmap(
            z=_shares(matrix),
            customdata=matrix.counts,
            text=matrix.counts if len(matrix.labels) <= MATRIX_NUMBERS else None,
            texttemplate="%{text}" if len(matrix.labels) <= MATRIX_NUMBERS else None,
            colorscale=[[0, "#FFFFFF"], [1, BLUE]],
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            showscale=len(matrix.labels) > MATRIX_NUMBERS,
            colorbar={"title": {"text": SHADE}, "tickformat": ".0%"},
            hovertemplate="true: %{y}<br>predicted: %{x}<br>%{customdata} rows, %{z:.1%}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    figure.update_xaxes(title_text="predicted class", constrain="domain", constraintoward="left", **ticks)
    figure.update_yaxes(title_text="true class", autorange="reversed", scaleanchor="x", **ticks)


def _matrix_size(panel: Matrix) -> tuple[int, int, bool]:
    """Width and height of the picture in CSS pixels, and whether the labels below stand aslant for want of room."""
    n = len(panel.labels)
    side = min(480, 140 + 28 * n)
    label = 7 * max(len(label) for label in panel.labels)
    aslant = label > 0.95 * side / min(n, MATRIX_LABELS)
    bar = 0 if n <= MATRIX_NUMBERS else 90
    return min(WIDTH, 80 + label + side + bar), 80 + side + (int(0.7 * label) if aslant else 10), aslant


def _labelled(matrix: Matrix) -> range:
    """The classes that have room for their label: all, or every so many."""
    return range(0, len(matrix.labels), -(-len(matrix.labels) // MATRIX_LABELS))


def _shares(matrix: Matrix) -> list[list[float]]:
    """Each row as shares of its sum: what the colour tells, whatever the sizes of the classes."""
    return [[round(c / max(1, sum(row)), 3) for c in row] for row in matrix.counts]


# -- labels ---------------------------------------------------------------------------------------

SIDES = {
    "top center": (0, 1), "bottom center": (0, -1), "middle right": (1, 0), "middle left": (-1, 0),
    "top right": (1, 1), "top left": (-1, 1), "bottom right": (1, -1), "bottom left": (-1, -1),
}  # fmt: skip
"""Where a label may stand beside its point, the best first: plotly's name for it → (right, up)."""

LETTER, LINE = 5.6, 12.0
"""About how wide a letter of a label is, and how high a line, in pixels of the picture."""


def placed(panel: Plot, width: float, height: float) -> list[tuple[str, ...]]:
    """Where the labels of each series stand, one of ``SIDES`` a point; empty where there is no room, or none is wished.

    Those that are placed first have the choice: none covers another one, or a point, or leaves the panel.

    Args:
        panel: what is drawn.
        width, height: of its picture, in pixels.
    """
    known = [
        (i, j, x, y)
        for i, series in enumerate(panel.series)
        if series.style == "points" and series.labels
        for j, (x, y) in enumerate(zip(series.x, series.y, strict=True))
    ]
    found = [[""] * len(series.labels) for series in panel.series]
    if not known:
        return [tuple(own) for own in found]
    across = _pixels([x for *_, x, _ in known], width - 90, panel.log_x)
    up = _pixels([y for *_, y in known], height - 120, panel.log)
    taken: list[tuple[float, float, float, float]] = []
    for (i, j, _, _), x, y in zip(known, across, up, strict=True):
        half = panel.series[i].sizes[j] / 2.5 if panel.series[i].sizes else 3
        taken.append((x - half, y - half, x + half, y + half))
    for (i, j, _, _), x, y in sorted(zip(known, across, up, strict=True), key=lambda one: one[1]):
        series = panel.series[i]
        if series.told and not series.told[j]:
            continue
        wide, away = LETTER * len(series.labels[j]), 3 + (series.sizes[j] if series.sizes else 6) / 2
        for name, (right, above) in SIDES.items():
            left = x + right * away - wide * (1 - right) / 2
            low = y + above * away - LINE * (1 - above) / 2
            box = (left, low, left + wide, low + LINE)
            inside = box[0] >= -40 and box[2] <= width - 50
            if inside and not any(_overlap(box, other) for other in taken):
                found[i][j] = name
                taken.append(box)
                break
    return [tuple(own) for own in found]


def _pixels(values: list[float], length: float, log: bool) -> list[float]:
    """Where numbers lie on an axis of so many pixels, an eighth of it left free at both ends."""
    numbers = [math.log(v) for v in values] if log else values
    least, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
    return [length * (0.125 + 0.75 * (v - least) / span) for v in numbers]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# -- the picture ----------------------------------------------------------------------------------


def _picture(chart: Chart) -> bytes:
    """The chart as a palettised PNG, drawn by matplotlib's own Figure: pyplot would keep it, and wants a display."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from PIL import Image

    matrix = next((p for p in chart.panels if isinstance(p, Matrix)), None)
    width, height = chart.size
    with rc_context({"font.size": 8.5, "font.family": "sans-serif", "axes.unicode_minus": True}):
        layout = ConstrainedLayoutEngine(wspace=0.06)
        figure = Figure(figsize=(width / 100, height / 100), dpi=100 * SHARPNESS, facecolor="white", layout=layout)
        axes = figure.subplots(1, len(chart.panels), squeeze=False)[0]
        entries: dict[str, Any] = {}
        for ax, panel in zip(axes, chart.panels, strict=True):
            if isinstance(panel, Matrix):
                _draw_matrix(ax, panel)
            elif not isinstance(panel, Plot):
                panel.picture(ax, entries)
            else:
                _draw(ax, panel, entries, (width / len(chart.panels), height))
        heading: dict[str, Any] = {"fontsize": 10.5, "color": INK}
        if len(entries) > 1:
            columns = 4 if max(len(name) for name in entries) < 24 else 2
            legend = figure.legend(
                entries.values(), entries, loc="outside upper left", ncols=columns, frameon=False, alignment="left"
            )
            for handle in legend.legend_handles:
                getattr(handle, "set_sizes", list)([36])  # of clouds, whatever the size of their first point
            legend.set_title(chart.title, prop=FontProperties(size=heading["fontsize"]))
        else:
            figure.suptitle(chart.title, x=0.01, ha="left", **heading)
        raw = io.BytesIO()
        figure.savefig(raw, format="png")
    shades = matrix or any(s.sizes for p in chart.panels if isinstance(p, Plot) for s in p.series)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(MATRIX_PALETTE if shades else PALETTE, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def _draw(ax: Any, panel: Plot, entries: dict[str, Any], room: tuple[float, float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    places = placed(panel, *room)
    for depth, series in enumerate(panel.series):
        if series.style == "points":
            look: dict[str, Any] = {
                "linestyle": "",
                "marker": "o",
                "markersize": 3.5,
                "markeredgewidth": 0,
                "alpha": 0.6,
            }
        else:
            look = {
                "linewidth": 0.7 if series.style in ("faint", "guide") else 1.5,
                "linestyle": "--" if series.style in ("dashed", "guide") else "-",
                "alpha": 0.6 if series.style == "faint" else 1.0,
                "marker": "o" if len(series.x) == 1 else None,
            }
        if series.sizes or series.symbols:
            drawn = _scattered(ax, series)
        else:
            (drawn,) = ax.plot(series.x, series.y, color=series.colour, zorder=2 + depth, **look)
        for y, span in zip(series.y, series.spans, strict=False):
            ax.plot(span, (y, y), color=INK, linewidth=1, marker="|", markersize=4, zorder=10)
        for x, y, label, size, place in zip(
            series.x, series.y, series.labels, series.sizes, places[depth], strict=False
        ):
            if place:
                across, up = SIDES[place]
                ax.annotate(
                    label, (x, y), (across * (2 + 0.4 * size), up * (2 + 0.4 * size)), textcoords="offset points",
                    ha=("right", "center", "left")[across + 1], va=("top", "center", "bottom")[up + 1],
                    fontsize=7.5, color=INK, zorder=20,
                )  # fmt: skip
        if series.style != "guide":
            entries.setdefault(series.name, drawn)
    for mark in panel.marks:
        ax.axvline(mark.x, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        ax.plot([mark.x], [1], "v", color=GREY, markersize=4, transform=ax.get_xaxis_transform(), clip_on=False)
    if panel.log:
        ax.set_yscale("log")
    if panel.log_x:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(0.12, 0.2)
    if panel.y_range:
        ax.set_ylim(*panel.y_range)
    if not panel.log_x and all(s.style != "points" or _whole(s.x) for s in panel.series):  # epochs, steps, trials
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.set_xlabel(panel.x_title, color=INK)
    ax.set_ylabel(panel.y_title, color=INK)
    ax.grid(color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=3)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)


def _whole(values: list[float]) -> bool:
    return all(float(v).is_integer() for v in values)


def _scattered(ax: Any, series: Series) -> Any:
    """Points of several sizes, and of several symbols if so wished; the last cloud, for the legend."""
    symbols = series.symbols or ("circle",) * len(series.x)
    drawn = None
    for symbol in dict.fromkeys(symbols):
        own = [i for i, other in enumerate(symbols[: len(series.x)]) if other == symbol]
        xs, ys, areas = ([v[i] for i in own] for v in (series.x, series.y, [s**2 / 2 for s in series.sizes]))
        drawn = ax.scatter(xs, ys, areas, series.colour, alpha=0.6, lw=0, marker=SYMBOLS[symbol])
    return drawn


def _draw_matrix(ax: Any, matrix: Matrix) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    n = len(matrix.labels)
    shares = _shares(matrix)
    image = ax.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ["white", BLUE], N=32), vmin=0, vmax=1)
    aslant = _matrix_size(matrix)[2]
    places = _labelled(matrix)
    labels = [matrix.labels[i] for i in places]
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if aslant else {}
    ax.set_xticks(places, labels, **turned)
    ax.set_yticks(places, labels)
    ax.set_xlabel("predicted class", color=INK)
    ax.set_ylabel("true class", color=INK)
    ax.tick_params(length=0, colors=INK)
    ax.spines[:].set_color(GREY)
    if n <= MATRIX_NUMBERS:
        for i, row in enumerate(matrix.counts):
            for j, count in enumerate(row):
                ink = "white" if shares[i][j] > 0.55 else INK if count else "#B0B0B0"
                ax.text(j, i, f"{count}", ha="center", va="center", color=ink, fontsize=8.5 if n <= 10 else 7)
    else:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, format=lambda v, _: f"{v:.0%}")
        bar.set_label(SHADE, color=INK)
        bar.outline.set_edgecolor(GREY)
