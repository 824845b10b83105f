"""Charts drawn as static pictures by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, cast

from lmkit.display.axes import style_axes
from lmkit.display.labels import SIDES, place_labels
from lmkit.display.matrix import MATRIX_NUMBERS, SHADE, matrix_size, row_shares, tick_positions
from lmkit.display.palette import BLACK, BLUE, COLOURS, GREY, INK, SYMBOLS
from lmkit.display.plot import FEW_DECADES, Matrix, Panel, Plot, Series, map_texts

PALETTE, MATRIX_PALETTE = 32, 128
"""Colours of a picture; a matrix, or points that overlap, need more shades."""

FADE = 0.6
"""The opacity of points and faint lines."""

ROUNDING = 2
"""How far the channels of a drawn colour may be from the computed one."""

SHARPNESS = 1.0
"""Pixels of the picture per CSS pixel. JupyterLab shows the picture of a figure at one CSS pixel per pixel until
the pointer is over it, and would cut off a larger one."""


def draw_png(title: str, panels: Sequence[Panel], size: tuple[int, int]) -> bytes:
    """Return a chart as a palettised PNG; matplotlib's Figure needs no display and no global state, unlike pyplot."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from PIL import Image

    title, panels = _escape_formulas(title), cast("Sequence[Panel]", map_texts(panels, _escape_formulas))
    matrix = next((p for p in panels if isinstance(p, Matrix)), None)
    width, height = size
    with rc_context({"font.size": 8.5, "font.family": "sans-serif", "axes.unicode_minus": True}):
        layout = ConstrainedLayoutEngine(wspace=0.06)
        figure = Figure(figsize=(width / 100, height / 100), dpi=100 * SHARPNESS, facecolor="white", layout=layout)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        entries: dict[str, Any] = {}
        for ax, panel in zip(axes, panels, strict=True):
            if isinstance(panel, Matrix):
                _draw_matrix(ax, panel)
            elif not isinstance(panel, Plot):
                panel.draw_matplotlib(ax, entries)
            else:
                _draw(ax, panel, entries, (width / len(panels), height))
        heading: dict[str, Any] = {"fontsize": 10.5, "color": INK}
        if len(entries) > 1:
            columns = 4 if max(len(name) for name in entries) < 24 else 2
            legend = figure.legend(
                entries.values(), entries, loc="outside upper left", ncols=columns, frameon=False, alignment="left"
            )
            for handle in legend.legend_handles:
                getattr(handle, "set_sizes", list)([36])  # independent of the size of the first point
            legend.set_title(title, prop=FontProperties(size=heading["fontsize"]))
        else:
            figure.suptitle(title, x=0.01, ha="left", **heading)
        layout.execute(figure)
        figure.set_layout_engine("none")  # else saving draws the whole figure once more beforehand
        raw = io.BytesIO()
        figure.savefig(raw, format="png")
    shades = (
        matrix
        or any(getattr(p, "has_shades", False) for p in panels)
        or any(s.sizes for p in panels if isinstance(p, Plot) for s in p.series)
    )
    small = io.BytesIO()
    reduce_colours(Image.open(raw).convert("RGB"), MATRIX_PALETTE if shades else PALETTE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def _escape_formulas(text: str) -> str:
    """Return a text such that matplotlib shows it as it is; names between two ``$`` would be read as a formula."""
    return text.replace("$", r"\$")


def reduce_colours(image: Any, count: int) -> Any:
    """Return a picture with at most ``count`` colours, in which those of the series stay exactly as they are.

    A median cut alone gives nearly all colours to what covers the most, such as hundreds of grey lines, and mixes the
    few others with them.
    """
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image, dtype=np.int32)
    numbers = pixels @ np.array([1 << 16, 1 << 8, 1])  # one per colour: sorted faster than three channels
    values, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    colours = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1)
    named = np.array([list(bytes.fromhex(c.removeprefix("#"))) for c in (*COLOURS, GREY, BLACK, INK, "#FFFFFF")])
    reserved = []
    for colour in (*named, *(FADE * named + (1 - FADE) * 255)):
        near = np.abs(colours - colour).max(axis=1) <= ROUNDING
        if near.any():
            reserved.append(colours[np.where(near, counts, 0).argmax()])
    rest = image.quantize(count - len(reserved), dither=Image.Dither.NONE).getpalette() or []
    palette = np.array([*reserved, *np.reshape(rest[: 3 * (count - len(reserved))], (-1, 3))])
    distances = ((colours[:, None, :] - palette[None, :, :]) ** 2).sum(axis=2)  # (colours, palette)
    reduced = Image.fromarray(distances.argmin(axis=1).astype(np.uint8)[inverse.reshape(-1)].reshape(pixels.shape[:2]))
    reduced.putpalette(palette.astype(np.uint8).tobytes())
    return reduced


def _draw(ax: Any, panel: Plot, entries: dict[str, Any], size: tuple[float, float]) -> None:
    positions = place_labels(panel, *size)
    for depth, series in enumerate(panel.series):
        drawn = _draw_scatter(ax, series) if series.sizes or series.symbols else _draw_line(ax, series, 2 + depth)
        for y, span in zip(series.y, series.spans, strict=False):
            ax.plot(span, (y, y), color=INK, linewidth=1, marker="|", markersize=4, zorder=10)
        _draw_labels(ax, series, positions[depth])
        if series.style != "guide":
            entries.setdefault(series.name, drawn)
    for mark in panel.marks:
        ax.axvline(mark.x, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        ax.plot([mark.x], [1], "v", color=GREY, markersize=4, transform=ax.get_xaxis_transform(), clip_on=False)
    _format_axes(ax, panel)


def _draw_line(ax: Any, series: Series, zorder: int) -> Any:
    """Draw a series as points of one size or as a line; return what the legend shows."""
    style: dict[str, Any]
    if series.style == "points":
        style = {"linestyle": "", "marker": "o", "markersize": 3.5, "markeredgewidth": 0, "alpha": FADE}
    else:
        style = {
            "linewidth": 0.7 if series.style in ("faint", "guide") else 1.5,
            "linestyle": "--" if series.style in ("dashed", "guide") else "-",
            "alpha": FADE if series.style == "faint" else 1.0,
            "marker": "o" if len(series.x) == 1 else None,
        }
    (line,) = ax.plot(series.x, series.y, color=series.colour, zorder=zorder, **style)
    return line


def _draw_labels(ax: Any, series: Series, positions: Sequence[Any]) -> None:
    """Draw the labels of a series' points at their positions."""
    for x, y, label, diameter, position in zip(
        series.x, series.y, series.labels, series.sizes, positions, strict=False
    ):
        if position:
            right, up = SIDES[position]
            ax.annotate(
                label,
                (x, y),
                (right * (2 + 0.4 * diameter), up * (2 + 0.4 * diameter)),
                textcoords="offset points",
                ha=("right", "center", "left")[right + 1],
                va=("top", "center", "bottom")[up + 1],
                fontsize=7.5,
                color=INK,
                zorder=20,
            )


def _format_axes(ax: Any, panel: Plot) -> None:
    """Set the scales, ranges and ticks of a chart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if panel.log:
        ax.set_yscale("log")
    if panel.log_x:
        ax.set_xscale("log")
        ax.margins(0.12, 0.2)
        low, high = ax.get_xlim()
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < FEW_DECADES * low else (1,)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if panel.y_range:
        ax.set_ylim(*panel.y_range)
    if not panel.log_x and all(
        s.style != "points" or _are_integers(s.x) for s in panel.series
    ):  # epochs, steps, trials
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.set_xlabel(panel.x_title, color=INK)
    ax.set_ylabel(panel.y_title, color=INK)
    style_axes(ax)


def _are_integers(values: list[float]) -> bool:
    return all(float(v).is_integer() for v in values)


def _draw_scatter(ax: Any, series: Series) -> Any:
    """Draw points with their sizes and symbols; return the last collection, for the legend."""
    symbols = series.symbols or ("circle",) * len(series.x)
    drawn = None
    for symbol in dict.fromkeys(symbols):
        indices = [i for i, other in enumerate(symbols[: len(series.x)]) if other == symbol]
        xs, ys, areas = ([v[i] for i in indices] for v in (series.x, series.y, [s**2 / 2 for s in series.sizes]))
        drawn = ax.scatter(xs, ys, areas, series.colour, alpha=FADE, lw=0, marker=SYMBOLS[symbol])
    return drawn


def _draw_matrix(ax: Any, matrix: Matrix) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    n = len(matrix.labels)
    shares = row_shares(matrix)
    image = ax.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ["white", BLUE], N=32), vmin=0, vmax=1)
    is_rotated = matrix_size(matrix)[2]
    positions = tick_positions(matrix)
    labels = [matrix.labels[i] for i in positions]
    rotation = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_rotated else {}
    ax.set_xticks(positions, labels, **rotation)
    ax.set_yticks(positions, labels)
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
