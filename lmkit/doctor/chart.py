"""A small chart of a statistic over a run, as SVG: it shows without a script, a library or a network."""

from __future__ import annotations

import html
import math

from lmkit.doctor.finding import Series

WIDTH, HEIGHT, MARGIN = 320, 70, 4

MAX_RATIO = 50.0
"""The ratio of the largest to the smallest value from which the axis is logarithmic."""


def draw(series: Series) -> str:
    """Return the chart as SVG; empty with fewer than two finite points."""
    points = [
        (float(step), float(value))
        for step, value in zip(series.steps, series.values, strict=False)
        if value is not None and math.isfinite(value)
    ]
    if len(points) < 2:
        return ""
    values = [v for _, v in points] + ([series.limit] if series.limit is not None else [])
    is_log = min(values) > 0 and max(values) > MAX_RATIO * min(values)
    scale = math.log10 if is_log else float
    low, high = scale(min(values)), scale(max(values))
    first, last = points[0][0], points[-1][0]

    def x(step: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (step - first) / ((last - first) or 1)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (scale(value) - low) / ((high - low) or 1)

    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    limit = ""
    if series.limit is not None:
        at = f"{y(series.limit):.1f}"
        limit = f"<line x1='0' x2='{WIDTH}' y1='{at}' y2='{at}' stroke='#c62828' stroke-dasharray='4 3'/>"
    bounds = f"{points[0][1]:.3g} → {points[-1][1]:.3g}{', log' if is_log else ''}"
    caption = f"{series.title} ({bounds}) over steps {first:g} to {last:g}"
    return (
        f"<figure style='margin:.3em 0'><svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' "
        f"role='img' aria-label='{html.escape(caption, quote=True)}' style='background:#8881'>{limit}"
        f"<polyline points='{line}' fill='none' stroke='#1f77b4' stroke-width='1.5'/></svg>"
        f"<figcaption style='font-size:80%;color:#607d8b'>{html.escape(caption)}</figcaption></figure>"
    )
