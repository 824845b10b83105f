"""A small chart of a statistic over a run, as SVG: it shows without a script, a library or a network."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from lmkit.doctor.finding import Series
from lmkit.doctor.results import Curve

WIDTH, HEIGHT, MARGIN = 320, 70, 4

COLORS = ("#607d8b", "#1f77b4", "#e07b00", "#2e7d32")
"""Of several curves."""

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
    x, y, is_log = _axes([step for step, _ in points], values)
    line = _polyline(points, x, y, "#1f77b4")
    limit = ""
    if series.limit is not None:
        at = f"{y(series.limit):.1f}"
        limit = f"<line x1='0' x2='{WIDTH}' y1='{at}' y2='{at}' stroke='#c62828' stroke-dasharray='4 3'/>"
    bounds = f"{points[0][1]:.3g} → {points[-1][1]:.3g}{', log' if is_log else ''}"
    caption = f"{series.title} ({bounds}) over steps {points[0][0]:g} to {points[-1][0]:g}"
    return _figure(limit + line, caption, html.escape(caption))


def draw_curves(curves: Sequence[Curve], title: str) -> str:
    """Return several curves in one chart as SVG; empty where none has two finite points.

    Args:
        curves: at most as many as there are ``COLORS``.
        title: what is drawn.
    """
    drawn = []
    for curve in curves[: len(COLORS)]:
        pairs = zip(curve.epochs, curve.values, strict=False)
        drawn.append([(e, v) for e, v in pairs if e is not None and v is not None and math.isfinite(e + v)])
    points = [point for line in drawn for point in line]
    if max(map(len, drawn), default=0) < 2:
        return ""
    x, y, is_log = _axes([epoch for epoch, _ in points], [value for _, value in points])
    lines = "".join(_polyline(line, x, y, color) for line, color in zip(drawn, COLORS, strict=False))
    ends = [
        (f"{curve.label} → {line[-1][1]:.3g}" if line else f"{curve.label} not finite", color)
        for curve, line, color in zip(curves, drawn, COLORS, strict=False)
    ]
    head = f"{title}{', log' if is_log else ''}: "
    marks = ", ".join(f"<span style='color:{color}'>▬</span> {html.escape(text)}" for text, color in ends)
    return _figure(lines, head + ", ".join(text for text, _ in ends), html.escape(head) + marks)


Scale = Callable[[float], float]
"""From a value to a pixel."""


def _axes(steps: Sequence[float], values: Sequence[float]) -> tuple[Scale, Scale, bool]:
    """Return the scales of both axes, and whether the vertical one is logarithmic."""
    is_log = min(values) > 0 and max(values) / MAX_RATIO > min(values)
    scale: Scale = math.log10 if is_log else float
    low, high = scale(min(values)), scale(max(values))
    first, last = min(steps), max(steps)

    def x(step: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * _fraction(step, first, last)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * _fraction(scale(value), low, high)

    return x, y, is_log


def _fraction(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others; halved, as a difference of two floats may overflow."""
    return (value / 2 - low / 2) / ((high / 2 - low / 2) or 1)


def _polyline(points: Sequence[tuple[float, float]], x: Scale, y: Scale, color: str) -> str:
    pairs = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    return f"<polyline points='{pairs}' fill='none' stroke='{color}' stroke-width='1.5'/>"


def _figure(lines: str, label: str, caption: str) -> str:
    """Return an SVG with a caption, which is HTML, and a label for screen readers."""
    return (
        f"<figure style='margin:.3em 0'><svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' "
        f"role='img' aria-label='{html.escape(label, quote=True)}' style='background:#8881'>{lines}</svg>"
        f"<figcaption style='font-size:80%;color:#607d8b'>{caption}</figcaption></figure>"
    )
