"""The result of a learning curve: scores over the number of training rows, and what more rows would give."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.analysis.baselines import NAMES, baseline_scores
from lmkit.analysis.power_law import MAX_FACTOR, PowerLaw
from lmkit.charts.values import round_values
from lmkit.data.preparation import prepare
from lmkit.display.figure import BLUE, GREEN, GREY, ORANGE, SKY, Chart, Plot, Series
from lmkit.display.table import Table
from lmkit.exceptions import ConfigError, DataError, LmkitError, shorten
from lmkit.experiment.experiment import Experiment
from lmkit.specs.tasks import metric_info
from lmkit.sweeping.sweep import Sweep

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.data.dataset import Dataset

SHARE, SEED = "data.training_share", "seed"
"""What a learning curve varies."""

HARDLY = 0.05
"""The share of the error by which twice the rows lower it at most where they hardly help."""


class Prediction(NamedTuple):
    """What a number of training rows would give.

    Attributes:
        rows: the number of training rows.
        score: the score of the fitted law.
        low, high: its 95 % interval.
    """

    rows: int
    score: float
    low: float
    high: float


class LearningCurve:
    """The score of an experiment over the number of its training rows; results wait for the end of its sweep.

    Attributes:
        sweep: the sweep that trains it; ``sweep.stop()`` cancels it, and the same call continues it.

    >>> import lmkit as lk
    >>> curve = lk.learning_curve("digits", model="mlp:small", epochs=8, sizes=4, seeds=2)  # doctest: +SKIP
    >>> curve.advice  # doctest: +SKIP
    'twice the rows: accuracy 0.954 → 0.961 [0.944, 0.978], which may be no gain: more seeds would tell; …'
    """

    def __init__(self, sweep: Sweep, runs: str | Path | None = None) -> None:
        self.sweep, self._runs = sweep, runs

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment, with all of its training rows."""
        return Experiment.from_dict(self.sweep.spec.fixed.experiment or {})

    @property
    def part(self) -> str:
        """The part of the data that is scored: test, or validation where there is no test part."""
        return scored_part(self.experiment)

    @property
    def metric(self) -> str:
        """The name of the score."""
        return self.sweep.objectives[0].name.partition("_")[2]

    def wait(self, timeout: float | None = None) -> LearningCurve:
        """Wait for the end of the sweep; return the curve."""
        self.sweep.wait(timeout)
        return self

    # -- results ----------------------------------------------------------------------------------

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per completed trial: share, rows, seed, and the score of ``model``, ``linear`` and ``forest``.

        Raises:
            DataError: no trial has completed.
        """
        import pandas as pd

        column = self.sweep.objectives[0].name
        rows = []
        for trial in self.sweep.wait().trials:
            if trial.state != "completed" or trial.values.get(column) is None:
                continue
            share, seed = (trial.parameters[name] for name in (SHARE, SEED))
            data = prepare_share(self.experiment, share, seed, self._runs)
            scores = baseline_scores(data, self.part, self.metric)
            rows.append({"share": share, "rows": data.rows, "seed": seed, "model": trial.values[column], **scores})
        if not rows:
            failed = next(iter(self.sweep.failed), None)
            reason = f"; the first error: {failed.error.splitlines()[0]}" if failed and failed.error else ""
            raise DataError(f"{self.sweep.name}: no trial has a {column}; it is {self.sweep.state}{reason}")
        return pd.DataFrame(rows).sort_values(["rows", "seed"], ignore_index=True)

    @cached_property
    def law(self) -> PowerLaw:
        """The power law of the error over the number of rows.

        Raises:
            DataError: too few numbers of rows have a score, or a score is better than the best possible one.
        """
        scores = self.table.pivot(index="share", columns="seed", values="model").sort_index()
        complete = scores.dropna(axis=1)
        scores = complete if complete.shape[1] else scores.dropna()
        rows = self.table.groupby("share")["rows"].mean().loc[scores.index]
        errors = self._error(scores.to_numpy(float))
        if (errors < 0).any():
            raise DataError(
                f"{self.metric}: a score is better than {self._score(0.0):g}, the best one that is assumed, so that no "
                "error falls towards a limit; use a metric of at most 1 to maximize, or of at least 0 to minimize"
            )
        return PowerLaw(rows.to_numpy(float), errors)

    def predict(self, factor: float = 2.0) -> Prediction:
        """Return what ``factor`` times the rows would give, with its 95 % interval.

        It is the mean over the same seeds, on the same test rows; what other test rows would give varies more.

        Raises:
            ConfigError: the factor is above 4, up to which the law is extrapolated.
        """
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= MAX_FACTOR:
            raise ConfigError(
                [
                    f"factor: given {shorten(factor)}, expected a number up to {MAX_FACTOR:g}: further away the "
                    "law is a guess"
                ]
            )
        rows = factor * float(self.law.rows[-1])
        low, high = sorted(self._score(error) for error in self.law.interval(rows))
        return Prediction(round(rows), self._score(self.law(rows)), low, high)

    @property
    def advice(self) -> str:
        """What would help, in a sentence."""
        return self._more_rows + self._better_baseline()

    @cached_property
    def _more_rows(self) -> str:
        now, double = self.predict(1.0), self.predict(2.0)
        text = f"{self.metric} {now.score:.3g} → {double.score:.3g} [{double.low:.3g}, {double.high:.3g}]"
        error = self.law(float(self.law.rows[-1]))
        low, high = self.law.gain_interval(2 * float(self.law.rows[-1]))
        if high <= HARDLY * error:
            text = f"more rows will hardly help: twice the rows: {text}"
        elif low > 0.01 * error:
            text = f"twice the rows: {text}"
        else:
            text = f"twice the rows: {text}, which may be no gain: more seeds would tell"
        return text

    def _better_baseline(self) -> str:
        """Return that a simple model is better on the same rows; empty where none is."""
        largest = self.table[self.table["share"] == self.table["share"].max()]
        errors = {name: self._error(largest[name].to_numpy(float)) for name in ("model", *NAMES)}
        name = min(NAMES, key=lambda name: errors[name].mean())
        model, simple = errors["model"], errors[name]
        if not ((simple < model).all() and simple.mean() < (1 - HARDLY) * model.mean()):
            return ""
        score = float(largest[name].mean())
        return f"; a {NAMES[name]} reaches {score:.3g} on the same rows: a better model helps more than rows"

    # -- scores and errors ------------------------------------------------------------------------

    @property
    def _is_maximized(self) -> bool:
        return self.sweep.objectives[0].direction == "maximize"

    @property
    def _best(self) -> float:
        """The score without any error."""
        info = metric_info().get(self.metric)
        return 1.0 if info is None or info.best is None else info.best

    def _error(self, score: Any) -> Any:
        return self._best - score if self._is_maximized else score

    def _score(self, error: Any) -> Any:
        return self._best - error if self._is_maximized else error

    # -- display ----------------------------------------------------------------------------------

    def chart(self) -> Chart:
        """Return the scores, the law up to four times the rows with its interval, and the baselines.

        Raises:
            DataError: too few numbers of rows have a score.
        """
        import numpy as np

        table, law = self.table, self.law
        largest = float(law.rows[-1])
        inside, outside = np.geomspace(law.rows[0], largest, 24), np.geomspace(largest, MAX_FACTOR * largest, 8)
        limits = np.array([law.interval(rows) for rows in outside])
        far = round_values(outside.tolist())

        def line(name: str, x: np.ndarray, colour: str, style: Any) -> Series:
            scores = self._score(np.array([law(rows) for rows in x]))
            return Series(name, round_values(x.tolist()), round_values(scores.tolist()), colour, style)

        means = table.groupby("share").mean(numeric_only=True)
        series = [
            Series("each seed", _floats(table["rows"]), _floats(table["model"]), BLUE, "points"),
            line("power law", inside, BLUE, "line"),
            line("extrapolated", outside, BLUE, "dashed"),
            *(
                Series("95 % interval", far, round_values(self._score(limits[:, side]).tolist()), SKY)
                for side in (0, 1)
            ),
            *(
                Series(NAMES[name], _floats(means["rows"]), _floats(means[name]), colour)
                for name, colour in zip(NAMES, (ORANGE, GREEN), strict=True)
                if means[name].notna().all()
            ),
            Series("all rows", [largest, largest], _ends(self._score(law.errors)), GREY, "guide"),
        ]
        y_title = f"{self.metric} ({self.part} part)"
        plot = Plot("training rows", y_title, tuple(series), log_x=True)
        title = self._more_rows.partition(", which")[0]
        return Chart(title[0].upper() + title[1:], (plot,), self.text)

    @property
    def text(self) -> str:
        """The advice and the mean scores by number of rows, as text."""
        means = self.table.groupby("share").mean(numeric_only=True)
        names = [name for name in ("model", *NAMES) if means[name].notna().any()]
        title = f"Learning curve of {self.experiment.name}, {self.metric} of the {self.part} part: {self.advice}"
        rows = tuple((round(row["rows"]), *(float(row[n]) for n in names)) for _, row in means.iterrows())
        return Table(title, ("rows", *names), rows).text

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as ``--json`` prints it."""
        return {
            "sweep": str(self.sweep.path),
            "metric": self.metric,
            "part": self.part,
            "advice": self.advice,
            "exponent": self.law.exponent,
            "limit": self._score(self.law.limit),
            "predictions": [self.predict(factor)._asdict() for factor in (1.0, 2.0, MAX_FACTOR)],
            "points": self.table.to_dict("records"),
        }

    def __repr__(self) -> str:
        if self.sweep.folder.driver() is not None:
            return f"<LearningCurve {self.sweep.name}: {self.sweep.summary()}>"
        try:
            return self.text
        except LmkitError as error:
            return str(error)


def _floats(values: Any) -> list[float]:
    return round_values(values.astype(float).tolist())


def _ends(values: np.ndarray) -> list[float]:
    return [float(values.min()), float(values.max())]


def scored_part(spec: Experiment) -> str:
    """Return the part that is scored: test, or validation where there is no test part.

    Raises:
        ConfigError: there is neither.
    """
    if spec.data.test:
        return "test"
    if spec.data.validation:
        return "validation"
    raise ConfigError(["data.test: given 0, as is data.validation, expected rows to score: write data: {test: 0.2}"])


def prepare_share(spec: Experiment, share: float, seed: int, runs: str | Path | None) -> Dataset:
    """Return the data of a trial, split and prepared."""
    data = spec.data.model_copy(update={"training_share": share})
    return prepare(data, seed, "float32", runs)
