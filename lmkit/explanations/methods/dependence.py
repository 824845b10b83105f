"""Partial dependence (Friedman, 2001) and individual conditional expectation (Goldstein et al., 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmkit.display.figure import BLUE, GREY, SKY, Chart, Plot, Series
from lmkit.display.panels import SignedBars
from lmkit.display.table import Table
from lmkit.display.units import format_number
from lmkit.exceptions import DataError, join_names
from lmkit.explanations.columns import Column, restore_numbers, select_columns
from lmkit.explanations.methods.attributions import rank_columns
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.model import ExplainedModel, take_rows

if TYPE_CHECKING:
    import numpy as np

ROWS = 200
"""Training rows over which dependence is averaged."""

POINTS = 25
"""Points of a curve at most."""

LINES = 15
"""Rows whose own curves are drawn."""

DEFAULT_COLUMNS = 3
"""Columns that are shown if none are named."""

TAILS = (0.02, 0.98)
"""Quantiles of the column between which the curve runs."""


@dataclass(frozen=True)
class Curve:
    """How the prediction depends on one feature, or on the category of a column.

    Attributes:
        name: the feature.
        points: its values in the unit of the data, (points,); of categories their numbers.
        categories: its categories; empty for numbers.
        individual: the prediction of each row with the value in place of its own, (rows, points).
        data: values of the feature in the training rows, (rows,).
    """

    name: str
    points: np.ndarray
    categories: tuple[str, ...]
    individual: np.ndarray
    data: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The partial dependence (points,): the mean over rows."""
        mean: np.ndarray = self.individual.mean(axis=0)
        return mean


@dataclass(frozen=True)
class Dependence:
    """Partial dependence and individual curves of some columns.

    Attributes:
        curves: of each feature.
        answer: what is predicted, in words.
        rows: the number of rows.
    """

    curves: tuple[Curve, ...]
    answer: str
    rows: int

    @property
    def table(self) -> Table:
        """The range of each curve, and the spread of the individual curves about it."""
        rows = []
        for curve in self.curves:
            mean = curve.mean
            centered = curve.individual - curve.individual.mean(axis=1, keepdims=True) - (mean - mean.mean())
            low, high = (curve.categories[int(i)] if curve.categories else float(curve.points[i]) for i in (0, -1))
            rows.append((curve.name, low, high, float(mean.min()), float(mean.max()), float(centered.std())))
        columns = ("column", "from", "to", "lowest mean", "highest mean", "spread between rows")
        return Table(f"Partial dependence of the {self.answer} ({self.rows} rows)", columns, tuple(rows))

    @property
    def chart(self) -> Chart:
        """A panel for each curve."""
        return Chart(f"Partial dependence of the {self.answer}", tuple(self._panel(c) for c in self.curves), self.text)

    def _panel(self, curve: Curve) -> Plot | SignedBars:
        mean = [float(v) for v in curve.mean]
        if curve.categories:
            return SignedBars(f"{self.answer}, by {curve.name}", curve.categories, tuple(mean))
        x = [float(f"{v:.5g}") for v in curve.points]
        rows = take_evenly(len(curve.individual), LINES)
        lines = [Series("single rows", x, [float(f"{v:.4g}") for v in curve.individual[i]], SKY, "faint") for i in rows]
        low, high = float(curve.individual[rows].min()), float(curve.individual[rows].max())
        margin = 0.06 * ((high - low) or abs(high) or 1.0)
        ticks = [float(f"{v:.5g}") for v in curve.data[take_evenly(len(curve.data), LINES)]]
        rug = Series("values in training", ticks, [low - margin / 2] * len(ticks), GREY, "points")
        average = Series("mean", x, mean, BLUE)
        return Plot(curve.name, self.answer, (*lines, rug, average), y_range=(low - margin, high + margin))

    @property
    def text(self) -> str:
        """Where each curve begins and ends."""
        parts = []
        for curve in self.curves:
            mean = curve.mean
            if curve.categories:
                best, worst = (curve.categories[int(i)] for i in (mean.argmax(), mean.argmin()))
                parts.append(
                    f"{curve.name}: {format_number(mean.max())} for {best}, {format_number(mean.min())} for {worst}"
                )
            else:
                parts.append(
                    f"{curve.name}: {format_number(mean[0])} at {curve.points[0]:.4g}, "
                    f"{format_number(mean[-1])} at {curve.points[-1]:.4g}"
                )
        return f"Partial dependence of the {self.answer}, over {self.rows} training rows. " + "; ".join(parts) + "."


class DependenceMethod:
    """Partial dependence and individual curves of columns of a table."""

    order = 2

    def suits(self, explained: ExplainedModel) -> bool:
        """Rows of a table suit."""
        return explained.kind.name == "table"

    def explain(self, request: Request) -> Dependence:
        """Return the curves of the columns that are named, else of the most important ones."""
        explained = request.explained
        columns = self._columns(request)
        rows = explained.cast(take_rows(explained.reference, ROWS).X)
        answer, output = _answer(request)
        curves = [curve for column in columns for curve in _curves(explained, column, rows, output)]
        if not curves:
            raise DataError(f"no column among {join_names(c.name for c in columns)} varies in the training rows")
        return Dependence(tuple(curves), answer, len(rows))

    def _columns(self, request: Request) -> list[Column]:
        if request.columns is not None:
            return select_columns(request.explained.columns, request.columns)
        return rank_columns(request)[:DEFAULT_COLUMNS]


def take_evenly(total: int, count: int) -> list[int]:
    """Return at most ``count`` evenly spaced indices below ``total``."""
    return list(range(total)) if total <= count else [i * (total - 1) // (count - 1) for i in range(count)]


def _answer(request: Request) -> tuple[str, int]:
    """Return what is predicted in words, and its column in the answers of the model."""
    explained = request.explained
    if explained.task.numeric:
        return "prediction", 0
    index = int(explained.select_classes(request.rows.X[:1], request.target)[0])
    return f"probability of {explained.labels[index]!r}", index


def _curves(explained: ExplainedModel, column: Column, rows: np.ndarray, output: int) -> list[Curve]:
    """Return the curve of a column; one for each part of a date; none of a column that does not vary."""
    import numpy as np

    prepared = np.asarray(explained.reference.X, dtype=np.float64)
    if column.categories:
        if len(column.categories) < 2:
            return []
        grid = np.eye(len(column.categories))
        data = prepared[:, column.features].argmax(axis=1).astype(np.float64)
        individual = _individual(explained, rows, column.features, grid, output)
        return [Curve(column.name, np.arange(len(grid), dtype=float), column.categories, individual, data)]
    curves = []
    for feature, name, shift, scale in zip(column.features, column.names, column.shift, column.scale, strict=True):
        values = prepared[:, feature]
        points = grid_points(values)
        if len(points) > 1:
            individual = _individual(explained, rows, (feature,), points[:, None], output)
            x, data = (restore_numbers(numbers, shift, scale) for numbers in (points, values))
            curves.append(Curve(name, x, (), individual, data))
    return curves


def grid_points(values: np.ndarray) -> np.ndarray:
    """Return at most ``POINTS`` values of a feature: its different values, or evenly spaced ones between the tails."""
    import numpy as np

    distinct = np.unique(values)
    if len(distinct) <= POINTS:
        return distinct
    low, high = np.quantile(values, TAILS)
    return np.linspace(low, high, POINTS) if high > low else distinct[[0, -1]]


def _individual(
    explained: ExplainedModel, rows: np.ndarray, features: tuple[int, ...], grid: np.ndarray, output: int
) -> np.ndarray:
    """Return the answers (rows, points) where the features of every row are replaced by each point of the grid."""
    import numpy as np

    size = max(1, explained.piece // len(rows))
    answers = []
    for i in range(0, len(grid), size):
        points = grid[i : i + size]
        changed = np.tile(rows, (len(points), 1))
        changed[:, features] = np.repeat(points, len(rows), axis=0)
        answers.append(explained.answers(changed)[:, output].reshape(len(points), len(rows)))
    return np.concatenate(answers).T


METHODS.add("dependence", DependenceMethod())
