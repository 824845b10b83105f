"""Charts drawn as interactive plotly figures."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, cast

from lmkit.display.labels import place_labels
from lmkit.display.matrix import MATRIX_NUMBERS, SHADE, row_shares, tick_positions
from lmkit.display.palette import BLUE, FONT, GREY, INK, RULE
from lmkit.display.plot import FEW_DECADES, Matrix, Panel, Plot, Series, map_texts


def draw_plotly(title: str, panels: Sequence[Panel], size: tuple[int, int]) -> Any:
    """Return a chart as a ``plotly.graph_objects.Figure``; ``size`` is that of the picture, in CSS pixels."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    positions = [_label_positions(panel, len(panels), size) for panel in panels]
    title, panels = _escape_markup(title), cast("Sequence[Panel]", map_texts(panels, _escape_markup))
    figure = make_subplots(rows=1, cols=len(panels), horizontal_spacing=0.12, figure=go.Figure())
    legend_names: set[str] = set()
    for column, panel in enumerate(panels, start=1):
        if isinstance(panel, Matrix):
            _plotly_matrix(figure, panel)
            continue
        if not isinstance(panel, Plot):
            panel.draw_plotly(figure, column)
            legend_names |= {trace.name for trace in figure.data if trace.name}
            continue
        for series, label_positions in zip(panel.series, positions[column - 1], strict=True):
            figure.add_trace(_trace(series, label_positions, first=series.name not in legend_names), row=1, col=column)
            legend_names.add(series.name)
        for mark in panel.marks:
            figure.add_vline(mark.x, line={"color": GREY, "width": 1, "dash": "dot"}, row=1, col=column)
            figure.add_annotation(  # unlike a line, it lies at the logarithm on a logarithmic axis
                x=math.log10(mark.x) if panel.log_x else mark.x,
                y=1,
                yref="y domain",
                yanchor="bottom",
                text="▾",
                hovertext=mark.text,
                font={"color": GREY},
                showarrow=False,
                row=1,
                col=column,
            )
        # a plotly range on a log axis is in powers of ten
        y_range = [math.log10(v) for v in panel.y_range] if panel.log and panel.y_range else panel.y_range
        figure.update_xaxes(
            title_text=panel.x_title,
            type="log" if panel.log_x else None,
            dtick=_tick_step(panel) if panel.log_x else None,
            row=1,
            col=column,
        )
        figure.update_yaxes(
            title_text=panel.y_title, type="log" if panel.log else "linear", range=y_range, row=1, col=column
        )
        if panel.log:
            figure.update_yaxes(dtick="D2", row=1, col=column)  # ticks at 1, 2 and 5 of each power of ten
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
        showlegend=len(legend_names) > 1,
        height=size[1] + 60,
        width=size[0] + 100 if isinstance(panels[0], Matrix) else None,  # line charts are as wide as the page
        title={"text": title, "x": 0.02, "font": {"size": 15}},
        font={"family": FONT, "size": 12, "color": INK},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    return figure


def _tick_step(panel: Plot) -> str | int:
    """Return where a logarithmic x axis has ticks: at 1, 2 and 5 of each power of ten, or at these where many are."""
    values = [x for series in panel.series for x in series.x if x > 0]
    return "D2" if not values or max(values) < FEW_DECADES * min(values) else 1


def _escape_markup(text: str) -> str:
    """Return a text such that plotly shows it as it is; it reads ``<b>`` and ``<a href=…>`` in names as markup."""
    return html.escape(text, quote=False)


def _label_positions(panel: Panel, count: int, size: tuple[int, int]) -> list[tuple[str, ...]]:
    """Return the positions of the labels of a plot, one of ``count`` panels side by side; empty for another panel."""
    return place_labels(panel, size[0] / count, size[1]) if isinstance(panel, Plot) else []


def _trace(series: Series, positions: tuple[str, ...], first: bool) -> Any:
    import plotly.graph_objects as go

    common: dict[str, Any] = {
        "x": series.x or [None],  # plotly leaves empty series out of the legend
        "y": series.y or [None],
        "name": series.name,
        "legendgroup": series.name,
        "showlegend": first and series.style != "guide",
        "opacity": 0.6 if series.style in ("faint", "points") else 1.0,
    }
    if series.style == "points":
        bars = (
            {
                "array": [b - x for x, (_, b) in zip(series.x, series.spans, strict=True)],
                "arrayminus": [x - a for x, (a, _) in zip(series.x, series.spans, strict=True)],
                "thickness": 1,
                "color": INK,
            }
            if series.spans
            else None
        )
        return go.Scatter(
            **common,
            mode="markers+text" if series.labels else "markers",
            error_x=bars,
            text=[label if position else "" for label, position in zip(series.labels, positions, strict=False)] or None,
            textposition=[position or "top center" for position in positions] or None,
            textfont={"size": 11},
            hovertext=series.labels or None,
            hoverinfo="text+x+y" if series.labels else None,
            marker={"color": series.colour, "size": series.sizes or 6, "symbol": series.symbols or "circle"},
        )
    dash = "dash" if series.style in ("dashed", "guide") else "solid"
    width = 1 if series.style in ("faint", "guide") else 2
    mode = "lines+markers" if len(series.x) == 1 else "lines"
    return go.Scatter(**common, mode=mode, line={"color": series.colour, "width": width, "dash": dash})


def _plotly_matrix(figure: Any, matrix: Matrix) -> None:
    import plotly.graph_objects as go

    # numeric positions, as shortened labels may be equal
    positions = tick_positions(matrix)
    ticks = {"tickvals": list(positions), "ticktext": [matrix.labels[i] for i in positions]}
    figure.add_trace(
        go.Heatmap(
            z=row_shares(matrix),
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
