"""The thumbnail of a dataset: images of each class, or a scatter plot of two columns."""

from __future__ import annotations

import base64
import html
import io
import math
from typing import TYPE_CHECKING

from lmkit.charts.values import shorten
from lmkit.data.tables.table import Table
from lmkit.display.figure import BLUE, COLOURS
from lmkit.specs.tasks import TaskName, get_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_POINTS = 400
"""Maximum number of points of the scatter plot."""

IMAGES_PER_CLASS = 4
"""Number of images of each class."""

WIDTH, HEIGHT = 250, 168
"""Size of the scatter plot in pixels."""


def thumbnail(table: Table) -> str:
    """Return images of each class if the rows are images, else a scatter plot; empty without numeric columns."""
    side = math.isqrt(table.X.shape[1])
    numeric = table.X.select_dtypes("number")
    if len(table.shape) == 3 and not get_task(table.task).numeric:
        pixels = numeric.to_numpy(dtype=float).reshape(-1, *table.shape).mean(axis=3)
        return _samples(pixels - pixels.min(), table)
    if side >= 6 and side * side == table.X.shape[1] == numeric.shape[1] and not get_task(table.task).numeric:
        pixels = numeric.to_numpy()
        if pixels.min() >= 0 and (pixels == pixels.round()).all():
            return _samples(pixels.reshape(-1, side, side), table)
    return _scatter(numeric, table) if numeric.shape[1] else ""


def _samples(images: np.ndarray, table: Table) -> str:
    """Some images of each class."""
    import numpy as np
    from PIL import Image

    classes = sorted(table.y.unique())[:10]
    height, width = images.shape[1:]
    canvas = np.zeros((IMAGES_PER_CLASS * (height + 1), len(classes) * (width + 1)))
    brightest = images.max() or 1
    for column, value in enumerate(classes):
        for row, image in enumerate(images[table.y.to_numpy() == value][:IMAGES_PER_CLASS]):
            top, left = row * (height + 1), column * (width + 1)
            canvas[top : top + height, left : left + width] = image / brightest
    ink = np.zeros((*canvas.shape, 2), dtype=np.uint8)
    ink[..., 1] = canvas * 255
    scale = max(1, 400 // canvas.shape[1])
    file = io.BytesIO()
    picture = Image.fromarray(ink, "LA")
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(
        file, "png", optimize=True
    )
    url = f"url(data:image/png;base64,{base64.b64encode(file.getvalue()).decode()})"
    names = ", ".join(table.labels.get(v, str(v)) for v in classes)
    return (
        f'<div class="lkc-samples" role="img" aria-label="Images per class: {html.escape(names)}" '
        f'style="aspect-ratio:{canvas.shape[1]}/{canvas.shape[0]};-webkit-mask-image:{url};mask-image:{url}"></div>'
    )


def _scatter(numeric: pd.DataFrame, table: Table) -> str:
    """The rows over the two most discriminative columns; for regression, the target over the best column."""
    import numpy as np
    import pandas as pd

    y = table.y
    if get_task(table.task).numeric:
        target = y.to_numpy(dtype=np.float64)
        correlations = [abs(_correlation(numeric[c].to_numpy(), target)) for c in numeric.columns]
        best = numeric.columns[int(np.argmax(correlations))]
        pair, classes = (numeric[best].to_numpy(), target), np.zeros(len(y), dtype=int)
        names, colours = (str(best), str(y.name or "target")), [BLUE]
    else:
        classes, values = pd.factorize(y, sort=True)
        order = sorted(numeric.columns, key=lambda c: -_separation(numeric[c].to_numpy(), classes))
        first = order[0]
        uncorrelated = [
            c for c in order[1:] if abs(_correlation(numeric[c].to_numpy(), numeric[first].to_numpy())) < 0.9
        ]
        second = (uncorrelated or order[1:] or [first])[0]
        pair, names = (numeric[first].to_numpy(), numeric[second].to_numpy()), (str(first), str(second))
        colours = class_colours(table.task, len(values))
    finite = np.isfinite(pair[0]) & np.isfinite(pair[1])
    rows = np.flatnonzero(finite)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, MAX_POINTS).astype(int))] if len(rows) > MAX_POINTS else rows
    if not len(rows):
        return ""
    x, y_ = (_scaled(v[rows], size) for v, size in zip(pair, (WIDTH - 26, HEIGHT - 26), strict=True))
    clouds = "".join(
        f'<path stroke="{colour}" d="'
        + "".join(f"M{20 + a:.0f} {HEIGHT - 20 - b:.0f}h0" for a, b in zip(x[members], y_[members], strict=True))
        + '"/>'
        for i, colour in enumerate(colours)
        if (members := classes[rows] == i).any()
    )
    axes = f"M18 4V{HEIGHT - 18}H{WIDTH - 4}"
    return (
        f'<svg class="lkc-scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(names[1])} over {html.escape(names[0])}, one point per row">'
        f'<path class="lkc-axes" d="{axes}"/><g class="lkc-points">{clouds}</g>'
        f'<text x="{(WIDTH + 14) / 2:.0f}" y="{HEIGHT - 5}">{html.escape(shorten(names[0], 34))}</text>'
        f'<text x="{-(HEIGHT - 14) / 2:.0f}" y="12" transform="rotate(-90)">{html.escape(shorten(names[1], 24))}</text>'
        "</svg>"
    )


def _separation(x: np.ndarray, classes: np.ndarray) -> float:
    """The separation of classes by a column: variance between their means over the variance within."""
    import numpy as np

    finite = np.isfinite(x)
    x, classes = x[finite], classes[finite]
    sizes = np.bincount(classes)
    means = np.bincount(classes, x) / np.maximum(sizes, 1)
    between = float((sizes * (means - x.mean()) ** 2).sum()) if len(x) else 0.0
    within = float(((x - means[classes]) ** 2).sum()) if len(x) else 0.0
    return between / within if within > 0 else math.inf if between > 0 else 0.0


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    import numpy as np

    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite], b[finite]
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _scaled(values: np.ndarray, size: float) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / ((high - low) or 1.0) * (size - 8) + 4


def class_colours(task: TaskName, n: int) -> list[str]:
    """Return one colour per class, or a single colour if there are more classes than colours."""
    return list(COLOURS[:n]) if not get_task(task).numeric and n <= len(COLOURS) else [BLUE] * n
