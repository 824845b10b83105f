"""Placement of the labels of points, without overlaps."""

from __future__ import annotations

import math

from lmkit.display.plot import Plot

SIDES = {
    "top center": (0, 1),
    "bottom center": (0, -1),
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "top left": (-1, 1),
    "bottom right": (1, -1),
    "bottom left": (-1, -1),
}
"""Positions of a label around its point in order of preference: plotly's name → direction (right, up)."""

LETTER, LINE = 5.6, 12.0
"""Approximate width of a letter and height of a line, in pixels of the picture."""


def place_labels(panel: Plot, width: float, height: float) -> list[tuple[str, ...]]:
    """Return the position of each label of each series, a key of ``SIDES``; empty if it has no space or is not drawn.

    Labels are placed from left to right; none covers another label or a point, or leaves the panel.

    Args:
        panel: the plot.
        width, height: the size of its picture, in pixels.
    """
    points = [
        (i, j, x, y)
        for i, series in enumerate(panel.series)
        if series.style == "points" and series.labels
        for j, (x, y) in enumerate(zip(series.x, series.y, strict=True))
    ]
    positions = [[""] * len(series.labels) for series in panel.series]
    if not points:
        return [tuple(names) for names in positions]
    across = _pixels([x for *_, x, _ in points], width - 90, panel.log_x)
    up = _pixels([y for *_, y in points], height - 120, panel.log)
    boxes: list[tuple[float, float, float, float]] = []
    for (i, j, _, _), x, y in zip(points, across, up, strict=True):
        half = panel.series[i].sizes[j] / 2.5 if panel.series[i].sizes else 3
        boxes.append((x - half, y - half, x + half, y + half))
    for (i, j, _, _), x, y in sorted(zip(points, across, up, strict=True), key=lambda item: item[1]):
        series = panel.series[i]
        if series.labelled and not series.labelled[j]:
            continue
        label_width, distance = LETTER * len(series.labels[j]), 3 + (series.sizes[j] if series.sizes else 6) / 2
        for name, (right, above) in SIDES.items():
            left = x + right * distance - label_width * (1 - right) / 2
            low = y + above * distance - LINE * (1 - above) / 2
            box = (left, low, left + label_width, low + LINE)
            inside = box[0] >= -40 and box[2] <= width - 50
            if inside and not any(_overlap(box, other) for other in boxes):
                positions[i][j] = name
                boxes.append(box)
                break
    return [tuple(names) for names in positions]


def _pixels(values: list[float], length: float, log: bool) -> list[float]:
    """Return the positions of numbers on an axis of ``length`` pixels, with an eighth of it free at both ends."""
    numbers = [math.log(v) for v in values] if log else values
    lowest, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
    return [length * (0.125 + 0.75 * (v - lowest) / span) for v in numbers]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
