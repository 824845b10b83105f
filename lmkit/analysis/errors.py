"""The errors of a run: its worst rows, suspicious labels, and slices in which it errs more."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.analysis.evaluation import EvaluatedRows, evaluate_rows
from lmkit.analysis.label_issues import find_label_issues, predicts_labels
from lmkit.analysis.slices import Slice, find_residual_slices, find_slices
from lmkit.charts.values import round_values
from lmkit.charts.values import shorten as shorten_label
from lmkit.display.figure import BLUE, GREY, VERMILLION, Chart, Plot, Series
from lmkit.display.panels import Bars
from lmkit.display.pictures import Pictures
from lmkit.display.table import Table
from lmkit.display.units import format_number
from lmkit.exceptions import ConfigError, shorten
from lmkit.run.resolve import resolve_run
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.run.run import Run

COUNT = 12
"""Rows of each table."""

FIXED = ("part", "row", "target", "prediction", "suggested", "p", "loss")
"""Columns of the tables of rows; a column of the source with such a name is called ``source NAME``."""

MAX_COLUMNS = 8
"""Columns of the source in the table of rows."""

MAX_SLICES = 8
"""Slices in the chart."""

MIN_LABEL_ROWS = 20
"""Rows from which suspicious labels are looked for."""

MAX_POINTS = 2_000
"""Rows in the chart of a regression."""

TRAINED_ON = "labels of the training part are not judged: the model has learned them, the wrong ones too"


class Errors:
    """What a model gets wrong in rows that it was not trained on.

    Attributes:
        evaluated: the rows, with their predictions.
        count: rows of each table.

    >>> import lmkit as lk
    >>> lk.errors("last").advice  # doctest: +SKIP
    "62 of 480 rows of validation and test are wrong (12.9%), most often where town = 'Uri': 49% of 98 rows …"
    """

    def __init__(self, evaluated: EvaluatedRows, count: int = COUNT) -> None:
        self.evaluated, self.count = evaluated, count

    @property
    def run(self) -> Run:
        """The run."""
        return self.evaluated.run

    @property
    def _numeric(self) -> bool:
        return self.evaluated.task.numeric

    # -- results ----------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All rows, the worst first: part, row, target, prediction, loss, and the columns of the source.

        ``loss`` is −log p of the target, the absolute error of a number, or the mean loss per token of a text; ``p`` is
        the probability of the prediction.
        """
        import numpy as np

        e = self.evaluated
        frame = e.columns.iloc[:, :0].copy()
        frame["part"], frame["row"] = e.part, e.row
        if e.target is not None:
            frame["target"], frame["prediction"] = e.target, e.prediction
        if e.probabilities is not None:
            frame["p"] = e.probabilities.max(axis=1)
        frame["loss"] = e.losses
        frame = frame.join(e.columns.rename(columns={name: f"source {name}" for name in FIXED}))
        return frame.iloc[np.argsort(-e.losses, kind="stable")]

    @cached_property
    def labels(self) -> pd.DataFrame:
        """The rows whose label is suspect, the most suspicious first: part, row, target, suggested, p, columns.

        By confident learning on rows that the model was not trained on (Northcutt et al., 2021); ``p`` is the
        probability of the suggested class. Empty for numbers, texts, the training part, fewer than 20 rows, and a model
        that has learned nothing.
        """
        import numpy as np

        e = self.evaluated
        empty = self.rows.iloc[:0].drop(columns=["prediction", "loss", "p"], errors="ignore")
        if e.labels is None or e.probabilities is None or self._unjudged:
            return empty
        issues = find_label_issues(e.probabilities, e.labels)
        classes = np.array(e.run.preprocessing.classes)
        frame = self.rows.sort_index().iloc[issues.rows].drop(columns=["prediction", "loss", "p"])
        frame.insert(3, "suggested", classes[issues.suggested])
        frame.insert(4, "p", e.probabilities[issues.rows, issues.suggested])
        return frame

    @property
    def _unjudged(self) -> str:
        """Why no labels are judged; empty where they are."""
        e = self.evaluated
        if e.labels is None:
            return "a number or a text has no label that could be of another class"
        if "training" in e.parts:
            return TRAINED_ON
        if len(e.losses) < MIN_LABEL_ROWS:
            return f"{len(e.losses)} rows are too few to judge labels; expected at least {MIN_LABEL_ROWS}"
        if not (e.probabilities is not None and predicts_labels(e.probabilities, e.labels)):
            return "no labels are judged: the model tells rows of a class no better from others than by chance"
        return ""

    @cached_property
    def slices(self) -> list[Slice]:
        """The values and ranges of columns, the smallest p-value first; ``stands_out`` says which are no chance."""
        e = self.evaluated
        if e.target is None or e.prediction is None:
            return []
        if self._numeric:
            return find_residual_slices(e.features, e.prediction - e.target)
        return find_slices(e.features, e.target != e.prediction)

    @cached_property
    def advice(self) -> str:
        """What stands out, in a sentence."""
        e, total = self.evaluated, len(self.evaluated.losses)
        where = " and ".join(e.parts)
        worst = next((s for s in self.slices if s.stands_out), None)
        if e.target is None:
            start = f"mean loss {e.losses.mean():.3g} per token in {total:,} rows of {where}"
            return f"{start}; read the worst rows: a text has no columns to slice by and no labels to doubt"
        if self._numeric:
            start = f"mean absolute error {format_number(e.losses.mean())} in {total:,} rows of {where}"
            if worst:
                start += f", unusual where {worst.name}: {worst.rate:.4g} in {worst.rows:,} rows, " + (
                    f"predicted {abs(worst.residual or 0):.4g} too {'high' if (worst.residual or 0) > 0 else 'low'} on "
                    f"average (p = {worst.corrected:.2g})"
                )
        else:
            wrong = int((e.target != e.prediction).sum())
            start = f"{wrong:,} of {total:,} rows of {where} are wrong ({wrong / total:.1%})"
            if worst:
                start += f", most often where {worst.name}: {worst.rate:.0%} of {worst.rows:,} rows"
                start += f" (p = {worst.corrected:.2g})"
        parts = [start]
        if worst and (not self._numeric or worst.rate > e.losses.mean()):
            parts.append("more rows like these, or a column that tells them apart, would help most")
        elif worst:
            parts.append("a column that tells these rows apart would help")
        elif not len(e.features.columns):
            parts.append("these data have no columns to slice by")
        else:
            parts.append("no value of a column stands out")
        if e.labels is not None:
            count = len(self.labels)
            checked = f"{count} label{'s' * (count != 1)} look{'s' * (count == 1)} wrong: check them first"
            parts.append(self._unjudged or (checked if count else "no label looks wrong"))
        return "; ".join(parts)

    # -- display ----------------------------------------------------------------------------------

    @property
    def rows_table(self) -> Table:
        """The worst rows, as a table."""
        title = f"Worst rows of {' and '.join(self.evaluated.parts)}, {self.run.name}"
        return _table(title, self.rows.head(self.count))

    @property
    def labels_table(self) -> Table:
        """The suspicious labels, as a table."""
        return _table(f"Suspicious labels ({len(self.labels)} in all)", self.labels.head(self.count))

    @property
    def slices_table(self) -> Table:
        """The slices, the smallest p-value first, as a table."""
        error = "mean absolute error" if self._numeric else "error rate"
        columns = ("slice", "rows", error, *(("mean residual",) if self._numeric else ("wrong",)), "p", "corrected p")
        rows = tuple(
            (s.name, s.rows, s.rate, s.residual if self._numeric else int(s.errors), s.p, s.corrected)
            for s in self.slices[: self.count]
        )
        return Table(f"Slices ({len(self.slices)} tested, p corrected by Holm's method)", columns, rows)

    def chart(self) -> Chart:
        """Return the worst pictures, the residuals of a regression, or the error rates of slices as a chart."""
        title = self.advice.partition(";")[0].partition(", ")[0]
        return Chart(f"Errors: {title}", (self._panel(),), self.advice)

    def _panel(self) -> Any:
        import numpy as np

        e = self.evaluated
        worst = self.rows.head(self.count)
        if e.images is not None:
            captions = [
                f"{_short(r.target)} → {_short(r.prediction)}" if e.target is not None else ""
                for r in worst.itertuples()
            ]
            return Pictures("target → prediction", e.images[worst.index.to_numpy()], tuple(captions))
        if self._numeric and e.target is not None and e.prediction is not None:
            return self._residual_plot()
        if not self.slices:
            names = tuple(f"{row.part} row {row.row}" for row in worst.itertuples())
            largest = float(worst["loss"].max()) or 1.0
            return Bars("loss, as a share of the largest", names, tuple(float(v) / largest for v in worst["loss"]))
        shown = self.slices[:MAX_SLICES]
        names = tuple(shorten_label(f"{s.name}{' *' * s.stands_out} ({s.rows} rows)", 44) for s in shown)
        overall = float(np.mean(e.target != e.prediction))
        return Bars("error rate (* stands out)", ("all rows", *names), (overall, *(s.rate for s in shown)))

    def _residual_plot(self) -> Plot:
        import numpy as np

        e = self.evaluated
        assert e.target is not None
        assert e.prediction is not None
        residuals = e.prediction - e.target
        worst = self.rows.head(self.count).index.to_numpy()
        others = np.setdiff1d(np.arange(len(residuals)), worst)[:MAX_POINTS]

        def series(name: str, rows: Any, colour: str) -> Series:
            x, y = (round_values(values[rows].tolist()) for values in (e.target, residuals))  # type: ignore[index]
            return Series(name, x, y, colour, "points")

        ends = [float(e.target.min()), float(e.target.max())]
        return Plot(
            "true value (unit of the target)",
            "predicted − true (same unit)",
            (
                Series("exact", ends, [0.0, 0.0], GREY, "guide"),
                series("row", others, BLUE),
                series(f"worst {len(worst)} rows", worst, VERMILLION),
            ),
        )

    @property
    def tables(self) -> list[Table]:
        """The tables that have rows: worst rows, suspicious labels, slices."""
        return [table for table in (self.rows_table, self.labels_table, self.slices_table) if table.rows]

    @property
    def text(self) -> str:
        """The advice and the tables, as text."""
        return "\n\n".join([self.advice, *(table.text for table in self.tables)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as ``--json`` prints it."""
        return {
            "run": str(self.run.path),
            "parts": list(self.evaluated.parts),
            "rows": len(self.evaluated.losses),
            "advice": self.advice,
            "worst": _records(self.rows.head(self.count)),
            "labels": _records(self.labels.head(self.count)),
            "suspicious": len(self.labels),
            "slices": [s._asdict() for s in self.slices[: self.count]],
        }

    def __repr__(self) -> str:
        return self.text


def errors(
    run: Run | str | Path = "last", *, part: str | None = None, count: int = COUNT, runs: str | Path | None = None
) -> Errors:
    """Show what the model of a run gets wrong: its worst rows, suspicious labels, and slices with more errors.

    Args:
        run: a run, its name or its folder.
        part: training, validation or test; default: validation and test, the rows that the model was not trained on.
        count: rows of each table.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: no run, or more than one, has the name.
        RunStateError: the run has no checkpoint.
        DataError: the data of the run are gone or have changed, or the part has no rows.

    >>> import lmkit as lk
    >>> lk.errors("last").advice  # doctest: +SKIP
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError([f"count: given {shorten(count)}, expected a whole number, at least 1"])
    return Errors(evaluate_rows(resolve_run(run, runs=runs), part), count)


def _table(title: str, frame: pd.DataFrame) -> Table:
    """Return a table of the first columns of a frame."""
    fixed = [c for c in FIXED if c in frame.columns]
    others = [c for c in frame.columns if c not in fixed]
    columns = [*fixed, *others[:MAX_COLUMNS]]
    rows = tuple(tuple(plain_value(row[c]) for c in columns) for row in frame.to_dict("records"))
    more = f"; {len(others) - MAX_COLUMNS} more columns" if len(others) > MAX_COLUMNS else ""
    return Table(title + more, tuple(map(str, columns)), rows)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): _json_value(value) for name, value in row.items()} for row in records]


def _json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else plain_value(value)


def _short(value: Any) -> str:
    return shorten_label(f"{value:.4g}" if isinstance(value, float) else str(value), 12)
