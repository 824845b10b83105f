"""Charts of a run: plain data first, then an interactive plotly figure and a static picture of the same data.

    run ──> panels (lines, points, a matrix: plain numbers) ──> plotly figure   for JupyterLab
                                                            └──> PNG             for everywhere else

A chart in a notebook carries both, and a text that says the same; together about 20 to 50 KB, however long the run.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lmkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.run import Run

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C",
)  # fmt: skip
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Told apart with any colour vision (Okabe and Ito, 2008)."""

STEP_POINTS = 300
"""Points that the losses of all steps are thinned to."""

SCATTER_POINTS = 800
MATRIX_NUMBERS = 20
"""Up to so many classes a confusion matrix has its counts written in."""

LOG_FROM = 20.0
"""A loss that falls by more than this factor is drawn on a logarithmic scale."""

PALETTE, MATRIX_PALETTE = 32, 128
"""Colours of the picture: a matrix has shades to keep apart."""

WIDTH, HEIGHT = 720, 340
"""Of the picture in CSS pixels."""

SHARPNESS = 1.5
"""Pixels of the picture for each of those: sharp on a fine screen, and still small."""

SMOOTH_UNDER = 10
"""With fewer epochs than this their means are too few to see the course; the smoothed steps show it."""


class Series(NamedTuple):
    """One line or cloud of points.

    Attributes:
        name: what the legend calls it; the same name in two panels is one entry.
        x, y: the numbers.
        colour: as #rrggbb.
        style: a line, a dashed line, points, a faint line behind the others, or a guide without a legend.
    """

    name: str
    x: list[float]
    y: list[float]
    colour: str
    style: Literal["line", "dashed", "points", "faint", "guide"] = "line"


class Plot(NamedTuple):
    """Series over common axes; ``y_range`` is what to show of them, in the unit of y."""

    x_title: str
    y_title: str
    series: tuple[Series, ...]
    log: bool = False
    y_range: tuple[float, float] | None = None


class Matrix(NamedTuple):
    """Counts by true class (rows) and predicted class (columns)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Chart:
    """Something to look at, as plain data that is drawn where it is shown.

    Attributes:
        title: what it is.
        panels: the plain data, one panel beside the other.
        text: what it shows, in words.
    """

    title: str
    panels: tuple[Plot | Matrix, ...]
    text: str

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
        }, {"image/png": {"width": WIDTH}}

    def __repr__(self) -> str:
        return self.text


# -- charts ---------------------------------------------------------------------------------------


def learning_curves(runs: Run | Sequence[Run]) -> Chart:
    """Loss, and accuracy or R², over the epochs: of one run, or of several side by side.

    Of one run the loss of every step is shown behind the epochs', thinned so that no extreme is lost. It may be
    called while a run trains: it shows what there is.

    Args:
        runs: one run, or a sequence of them.

    Raises:
        DataError: no run was given, or none has taken a step yet.
    """
    several = list(runs) if isinstance(runs, Sequence) else [runs]
    chart = [r for r in several if len(r.steps)]
    if not chart:
        names = ", ".join(r.name for r in several)
        raise DataError(f"{names or 'no run was given'}: there is no step to draw yet; run.wait() first")
    single = len(chart) == 1
    loss: list[Series] = []
    metric: list[Series] = []
    words = []
    metric_name = next((m for m in ("accuracy", "r2") if all(m in r.history for r in chart)), "")
    for i, run in enumerate(chart):
        history = run.history
        colours = (BLUE, VERMILLION) if single else (COLOURS[i % len(COLOURS)],) * 2
        called = "" if single else f"{run.name}, "
        if single:
            loss += _step_series(run.steps, history)
        for columns, panel in ((("loss", "val_loss"), loss), ((metric_name, f"val_{metric_name}"), metric)):
            for column, part, colour in zip(columns, ("training", "validation"), colours, strict=True):
                if column in history and history[column].notna().any():
                    style = "line" if single or part == "validation" else "dashed"
                    x, y = decimate(history["epoch"], history[column], STEP_POINTS)
                    panel.append(Series(called + part, x, y, colour, style))  # type: ignore[arg-type]
        words.append(_curve_words(run, history, metric_name))
    x_title = "epoch" if any(len(r.history) for r in chart) else "step"
    log, y_range = _loss_scale(loss)
    unit = "log scale" if log else "mean over the rows"
    panels = [Plot(x_title, f"loss ({unit})", tuple(loss), log, y_range)]
    if metric:
        lowest = min(min(s.y) for s in metric)
        worst = max(lowest, -1.0) if metric_name == "r2" else lowest  # the first epochs' R² can be any depth below 0
        margin = max(0.01, 0.06 * (1 - worst))
        titles = {"accuracy": "accuracy (share of rows)", "r2": "R² (1 is perfect)"}
        panels.append(Plot(x_title, titles[metric_name], tuple(metric), False, (worst - margin, 1 + margin)))
    return Chart("Learning curves", tuple(panels), "\n".join(["Learning curves.", *words]))


def predictions(run: Run) -> Chart:
    """What the model says of the test part: a confusion matrix for classes, residuals for numbers.

    Raises:
        RunFailed: the run did not get that far.
        DataError: it has no test part.
    """
    return residuals(run) if run.preprocessing.task == "regression" else confusion_matrix(run)


def confusion_matrix(run: Run) -> Chart:
    """How often each class of the test part was predicted as which. Waits for the end of the run.

    Raises:
        RunFailed: the run did not get that far.
        DataError: it has no test part, or predicts numbers.
    """
    import numpy as np
    import pandas as pd

    known = run.preprocessing
    if known.task == "regression":
        raise DataError(f"{run.name} predicts numbers, which have no confusion matrix; use charts.residuals(run)")
    table = _test_part(run)
    n = len(known.classes)
    rows, columns = (pd.Categorical(table[c], categories=known.classes).codes for c in ("target", "prediction"))
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (rows, columns), 1)
    labels = tuple(_short(label) for label in known.labels)
    right, total = int(np.trace(counts)), int(counts.sum())
    wrong = counts - np.diag(np.diag(counts))
    worst = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:3], wrong.shape))[0]
    told = [f"{labels[a]} taken for {labels[b]}: {wrong[a, b]}" for a, b in worst if wrong[a, b]]
    text = f"Confusion matrix of the test part. {right} of {total} rows right ({right / total:.1%}). " + (
        f"Most frequent mistakes: {'; '.join(told)}." if told else "No mistakes."
    )
    return Chart("Confusion matrix, test part", (Matrix(labels, tuple(tuple(r) for r in counts.tolist())),), text)


def residuals(run: Run) -> Chart:
    """Predicted against true values of the test part, and what is left between them. Waits for the end of the run.

    Raises:
        RunFailed: the run did not get that far.
        DataError: it has no test part, or predicts classes.
    """
    import numpy as np

    if run.preprocessing.task != "regression":
        raise DataError(f"{run.name} predicts classes, which have no residuals; use charts.confusion_matrix(run)")
    table = _test_part(run)
    truth, guess = (table[c].to_numpy(dtype=np.float64) for c in ("target", "prediction"))
    left = guess - truth
    largest = int(np.abs(left).argmax())
    text = (
        f"Residuals of the test part, in the unit of the target. {len(left)} rows; mean absolute error "
        f"{np.abs(left).mean():.4g}; mean of prediction minus truth {left.mean():.4g}; the largest error is "
        f"{left[largest]:.4g}, at a true value of {truth[largest]:.4g}."
    )
    shown = _sample(left, SCATTER_POINTS)
    truth, guess, left = (_rounded(v[shown]) for v in (truth, guess, left))
    ends = [min(*truth, *guess), max(*truth, *guess)]
    panels = (
        Plot(
            "true value (unit of the target)",
            "predicted value (same unit)",
            (Series("exact", ends, ends, GREY, "guide"), Series("row of the test part", truth, guess, BLUE, "points")),
        ),
        Plot(
            "predicted value (unit of the target)",
            "predicted − true (same unit)",
            (
                Series("exact", [min(guess), max(guess)], [0.0, 0.0], GREY, "guide"),
                Series("row of the test part", guess, left, BLUE, "points"),
            ),
        ),
    )
    return Chart("Residuals, test part", panels, text)


# -- plain data -----------------------------------------------------------------------------------


def decimate(x: Any, y: Any, points: int) -> tuple[list[float], list[float]]:
    """At most ``points`` of a curve that look the same: of every bucket its lowest and its highest.

    Args:
        x, y: the curve, (n,) each, x ascending. What is not finite is left out.
        points: how many to keep, at least 4.

    Returns:
        x and y of those kept, in order, with the first and the last among them, to five significant digits.

    >>> decimate(range(1000), [0.0] * 500 + [9.0] + [0.0] * 499, 4)
    ([0.0, 500.0, 999.0], [0.0, 9.0, 0.0])
    """
    import numpy as np

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) > points:
        edges = np.linspace(0, len(y), max(1, (points - 2) // 2) + 1).astype(int)
        kept = {0, len(y) - 1}
        for start, end in zip(edges, edges[1:], strict=False):
            kept |= {start + int(y[start:end].argmin()), start + int(y[start:end].argmax())}
        chosen = sorted(kept)
        x, y = x[chosen], y[chosen]
    return _rounded(x), _rounded(y)


def _step_series(steps: pd.DataFrame, history: pd.DataFrame) -> list[Series]:
    """The loss of every step: as it was, and smoothed while there are too few epochs to show the course."""
    per_epoch = history["step"].iloc[0] / history["epoch"].iloc[0] if len(history) else 1.0
    x = steps["step"] / per_epoch
    found = [Series("training, each step", *decimate(x, steps["loss"], STEP_POINTS), SKY, "faint")]
    if len(history) >= SMOOTH_UNDER:
        return found
    smooth = steps["loss"].ewm(span=max(2, len(steps) // 15)).mean()
    return [*found, Series("training, smoothed", *decimate(x, smooth, STEP_POINTS // 4), GREEN, "dashed")]


def _loss_scale(series: list[Series]) -> tuple[bool, tuple[float, float] | None]:
    """Whether the losses want a logarithmic axis, and the range that shows them without single outliers."""
    import numpy as np

    lines = [s.y for s in series if s.style != "faint" and s.y]
    faint = [np.quantile(s.y, [0.02, 0.98]).tolist() for s in series if s.style == "faint" and s.y]
    if not lines:
        return False, None
    low, high = min(min(y) for y in lines + faint), max(max(y) for y in lines + faint)
    if low > 0 and high / low > LOG_FROM:
        return True, (low / 1.3, high * 1.3)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    return False, (low - margin, high + margin)


def _curve_words(run: Run, history: pd.DataFrame, metric: str) -> str:
    """One run's curves in a sentence."""
    if not len(history):
        return f"{run.name}: {len(run.steps)} steps, no whole epoch yet; loss {run.steps['loss'].iloc[-1]:.4g}."
    first, last = history.iloc[0], history.iloc[-1]
    words = [f"{run.name}: {int(last['epoch'])} epochs, {int(last['step'])} steps"]
    for column, name in (
        ("loss", "training loss"),
        ("val_loss", "validation loss"),
        (metric, f"training {metric}"),
        (f"val_{metric}", f"validation {metric}"),
    ):
        if column in history:
            words.append(f"{name} {first[column]:.4g} → {last[column]:.4g}")
    if "val_loss" in history and history["val_loss"].notna().any():
        best = history.loc[history["val_loss"].idxmin()]
        words.append(f"lowest validation loss {best['val_loss']:.4g} in epoch {int(best['epoch'])}")
    return "; ".join(words) + "."


def _test_part(run: Run) -> pd.DataFrame:
    table = run.predictions
    if not len(table):
        raise DataError(f"{run.name} has no test part to show; train with data: {{test: 0.2}}")
    return table


def _sample(left: np.ndarray, points: int) -> np.ndarray:
    """Rows to draw: all, or the largest residuals and an even choice of the rest."""
    import numpy as np

    if len(left) <= points:
        return np.arange(len(left))
    extreme = np.argsort(-np.abs(left), kind="stable")[: points // 10]
    even = np.linspace(0, len(left) - 1, points - len(extreme)).astype(int)
    return np.union1d(extreme, even)


def _rounded(values: Any) -> list[float]:
    """Five significant digits: what can be seen, at half the size."""
    return [float(f"{v:.5g}") for v in values]


def _short(label: str) -> str:
    return label if len(label) <= 18 else label[:17] + "…"


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
        for series in panel.series:
            figure.add_trace(_trace(series, first=series.name not in named), row=1, col=column)
            named.add(series.name)
        # a plotly range on a log axis is in powers of ten
        shown = [math.log10(v) for v in panel.y_range] if panel.log and panel.y_range else panel.y_range
        figure.update_xaxes(title_text=panel.x_title, row=1, col=column)
        figure.update_yaxes(
            title_text=panel.y_title, type="log" if panel.log else "linear", range=shown, row=1, col=column
        )
    lines = {"showline": True, "linecolor": GREY, "gridcolor": RULE, "zeroline": False, "automargin": True}
    figure.update_xaxes(**lines)
    figure.update_yaxes(**lines)
    figure.update_layout(
        template="none",
        height=HEIGHT + 60 if isinstance(chart.panels[0], Plot) else _matrix_height(chart.panels[0]),
        title={"text": chart.title, "x": 0.02, "font": {"size": 15}},
        font={"family": FONT, "size": 12, "color": INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 20, "t": 80, "b": 50},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    return figure


def _trace(series: Series, first: bool) -> Any:
    import plotly.graph_objects as go

    common = {
        "x": series.x,
        "y": series.y,
        "name": series.name,
        "legendgroup": series.name,
        "showlegend": first and series.style != "guide",
        "opacity": 0.6 if series.style in ("faint", "points") else 1.0,
    }
    if series.style == "points":
        return go.Scatter(**common, mode="markers", marker={"color": series.colour, "size": 6})
    dash = "dash" if series.style in ("dashed", "guide") else "solid"
    width = 1 if series.style in ("faint", "guide") else 2
    mode = "lines+markers" if len(series.x) == 1 else "lines"
    return go.Scatter(**common, mode=mode, line={"color": series.colour, "width": width, "dash": dash})


def _plotly_matrix(figure: Any, matrix: Matrix) -> None:
    import plotly.graph_objects as go

    # numbered positions, for two classes may share a label once it is shortened
    ticks = {"tickvals": list(range(len(matrix.labels))), "ticktext": list(matrix.labels)}
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
            colorbar={"title": {"text": "share of the true class"}, "tickformat": ".0%"},
            hovertemplate="true: %{y}<br>predicted: %{x}<br>%{customdata} rows, %{z:.1%}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    figure.update_xaxes(title_text="predicted class", constrain="domain", **ticks)
    figure.update_yaxes(title_text="true class", autorange="reversed", scaleanchor="x", **ticks)


def _matrix_height(panel: Matrix) -> int:
    return min(640, 280 + 20 * len(panel.labels))


def _shares(matrix: Matrix) -> list[list[float]]:
    """Each row as shares of its sum: what the colour tells, whatever the sizes of the classes."""
    return [[round(c / max(1, sum(row)), 3) for c in row] for row in matrix.counts]


# -- the picture ----------------------------------------------------------------------------------


def _picture(chart: Chart) -> bytes:
    """The chart as a palettised PNG, drawn by matplotlib's own Figure: pyplot would keep it, and wants a display."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from PIL import Image

    matrix = next((p for p in chart.panels if isinstance(p, Matrix)), None)
    height = _matrix_height(matrix) if matrix else HEIGHT
    with rc_context({"font.size": 8.5, "font.family": "sans-serif", "axes.unicode_minus": True}):
        figure = Figure(
            figsize=(WIDTH / 100, height / 100), dpi=100 * SHARPNESS, facecolor="white", layout="constrained"
        )
        axes = figure.subplots(1, len(chart.panels), squeeze=False)[0]
        entries: dict[str, Any] = {}
        for ax, panel in zip(axes, chart.panels, strict=True):
            if isinstance(panel, Matrix):
                _draw_matrix(ax, panel)
            else:
                _draw(ax, panel, entries)
        heading = {"fontsize": 10.5, "color": INK}
        if len(entries) > 1:
            columns = 4 if max(len(name) for name in entries) < 24 else 2
            legend = figure.legend(
                entries.values(), entries, loc="outside upper left", ncols=columns, frameon=False, alignment="left"
            )
            legend.set_title(chart.title, prop={"size": heading["fontsize"]})
        else:
            figure.suptitle(chart.title, x=0.01, ha="left", **heading)
        raw = io.BytesIO()
        figure.savefig(raw, format="png")
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(MATRIX_PALETTE if matrix else PALETTE, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def _draw(ax: Any, panel: Plot, entries: dict[str, Any]) -> None:
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
        (drawn,) = ax.plot(series.x, series.y, color=series.colour, zorder=2 + depth, **look)
        if series.style != "guide":
            entries.setdefault(series.name, drawn)
    if panel.log:
        ax.set_yscale("log")
    if panel.y_range:
        ax.set_ylim(*panel.y_range)
    ax.set_xlabel(panel.x_title, color=INK)
    ax.set_ylabel(panel.y_title, color=INK)
    ax.grid(color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=3)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)


def _draw_matrix(ax: Any, matrix: Matrix) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    n = len(matrix.labels)
    shares = _shares(matrix)
    image = ax.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ["white", BLUE], N=32), vmin=0, vmax=1)
    long = max(len(label) for label in matrix.labels) > 3 and n > 4
    ax.set_xticks(range(n), matrix.labels, rotation=45 if long else 0, ha="right" if long else "center")
    ax.set_yticks(range(n), matrix.labels)
    ax.set_xlabel("predicted class", color=INK)
    ax.set_ylabel("true class", color=INK)
    ax.tick_params(length=0, colors=INK)
    ax.spines[:].set_color(GREY)
    if n <= MATRIX_NUMBERS:
        for i, row in enumerate(matrix.counts):
            for j, count in enumerate(row):
                ink = "white" if shares[i][j] > 0.55 else INK if count else "#B0B0B0"
                ax.text(j, i, f"{count}", ha="center", va="center", color=ink, fontsize=8.5 if n <= 10 else 7)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, format=lambda v, _: f"{v:.0%}")
    bar.set_label("share of the true class", color=INK)
    bar.outline.set_edgecolor(GREY)
