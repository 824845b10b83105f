"""Attributions of columns: integrated gradients of the score, summed over the features of each column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.display.figure import Chart
from lmkit.display.panels import SignedBars
from lmkit.display.table import Table, format_cell
from lmkit.display.units import format_number
from lmkit.exceptions import LmkitError
from lmkit.explanations.columns import Column, sum_features
from lmkit.explanations.integrated_gradients import describe_remainder, integrated_gradients
from lmkit.explanations.intervals import mean_interval
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.model import ExplainedModel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_BARS = 12
"""Columns that are drawn."""


@dataclass(frozen=True)
class Attributions:
    """How much each column adds to the score of each row, against a baseline.

    Attributes:
        score: what is explained, in words.
        columns: the columns, (columns,).
        values: the attributions (rows, columns); those of a row sum to its score minus that of the baseline.
        originals: the values of the columns in the unit of the data, for each column (rows,).
        rows: the names of the rows.
        predictions: of each row, in words.
        scores: of each row, (rows,).
        baseline: the score of the baseline for each row, (rows,).
        remainders: what is missing from completeness, as a share, (rows,).
        points: of the quadrature, (rows,).
    """

    score: str
    columns: tuple[str, ...]
    values: np.ndarray
    originals: tuple[list[Any], ...]
    rows: tuple[str, ...]
    predictions: tuple[str, ...]
    scores: np.ndarray
    baseline: np.ndarray
    remainders: np.ndarray
    points: np.ndarray

    @property
    def frame(self) -> pd.DataFrame:
        """The attributions as a DataFrame: a row for each row, a column for each column."""
        import pandas as pd

        return pd.DataFrame(self.values, index=list(self.rows), columns=list(self.columns))

    @cached_property
    def ranking(self) -> list[int]:
        """The columns by their mean |attribution|, the largest first."""
        import numpy as np

        return [int(i) for i in np.argsort(-np.abs(self.values).mean(axis=0), kind="stable")]

    @property
    def table(self) -> Table:
        """The mean |attribution| of each column over rows, and the attributions of the first row."""
        rows = []
        for i in self.ranking:
            mean, low, high = mean_interval(abs(self.values[:, i]))
            rows.append((self.columns[i], mean, low, high, self.originals[i][0], float(self.values[0, i])))
        columns = ("column", "mean |attribution|", "2.5 %", "97.5 %", f"value of {self.rows[0]}", "its attribution")
        return Table(f"Attributions to the {self.score} ({len(self.rows)} rows)", columns, tuple(rows))

    @property
    def chart(self) -> Chart:
        """Mean |attribution| over rows, and the signed attributions of the first row."""
        import numpy as np

        panels = []
        if len(self.rows) > 1:
            top = self.ranking[:MAX_BARS]
            means = [mean_interval(np.abs(self.values[:, i])) for i in top]
            panels.append(
                SignedBars(
                    f"mean |attribution| of {len(self.rows)} rows",
                    tuple(self.columns[i] for i in top),
                    tuple(m for m, _, _ in means),
                    tuple((low, high) for _, low, high in means),
                )
            )
        panels.append(self._row_panel(0))
        return Chart(f"Attributions to the {self.score}", tuple(panels), self.text)

    def row_chart(self, row: int) -> Chart:
        """Return the chart of one row's attributions."""
        return Chart(f"{self.rows[row]}: attributions to the {self.score}", (self._row_panel(row),), self.text)

    def _row_panel(self, row: int) -> SignedBars:
        import numpy as np

        top = np.argsort(-np.abs(self.values[row]), kind="stable")[:MAX_BARS]
        names = [f"{self.columns[i]} = {format_cell(self.originals[i][row])}" for i in top]
        title = f"{self.rows[row]}: {self.predictions[row]}"
        return SignedBars(title, tuple(names), tuple(float(self.values[row, i]) for i in top))

    @property
    def text(self) -> str:
        """What adds most, and how exact the attributions are."""
        top = ", ".join(self.columns[i] for i in self.ranking[:5])
        row = self.values[0]
        strongest = sorted(range(len(row)), key=lambda i: -abs(row[i]))[:3]
        sizes = {i: format_number(row[i], 3, sign=True) for i in strongest}
        parts = ", ".join(f"{self.columns[i]} = {format_cell(self.originals[i][0])}: {sizes[i]}" for i in strongest)
        average = f" Largest on average over {len(self.rows)} rows: {top}." if len(self.rows) > 1 else ""
        return (
            f"Attributions to the {self.score} by integrated gradients.{average} {self.rows[0]}, "
            f"{self.predictions[0]}: {format_number(self.baseline[0])} at the baseline, "
            f"{format_number(self.scores[0])} here; {parts}. "
            f"{describe_remainder(self.remainders, self.points)}"
        )


class AttributionsMethod:
    """Integrated gradients of a row of numbers with columns."""

    order = 0

    def suits(self, explained: ExplainedModel) -> bool:
        """Rows of a table suit."""
        return explained.kind.name == "table"

    def explain(self, request: Request) -> Attributions:
        """Return the attributions of the rows."""
        explained, (X, names, _) = request.explained, request.rows
        classes = explained.select_classes(X, request.target)
        slopes = explained.slopes(X, classes)
        result = integrated_gradients(slopes, X, explained.baseline(request.baseline), piece=explained.piece)
        columns = explained.columns
        return Attributions(
            explained.score_name(request.target),
            tuple(column.name for column in columns),
            sum_features(result.values, columns),
            tuple(column.original(X) for column in columns),
            names,
            tuple(explained.describe(X)),
            result.ends,
            result.starts,
            result.remainders,
            result.points,
        )


def rank_columns(request: Request) -> list[Column]:
    """Return the columns, the largest mean |attribution| first; in their order where the model has no gradient."""
    columns = request.explained.columns
    try:
        attributions = request.results.get("attributions") or AttributionsMethod().explain(request)
    except LmkitError:
        return columns
    return [columns[i] for i in attributions.ranking]


METHODS.add("attributions", AttributionsMethod())
