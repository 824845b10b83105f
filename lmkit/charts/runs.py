"""Charts of runs: learning curves, confusion matrix, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lmkit.charts.legend import legend_names
from lmkit.charts.values import LOG_FACTOR, round_values, shorten
from lmkit.display.figure import BLUE, COLOURS, GREEN, GREY, SKY, VERMILLION, Chart, Mark, Matrix, Plot, Series
from lmkit.display.units import format_number
from lmkit.exceptions import DataError, join_names
from lmkit.runfolder.progress import epoch_text, sentence
from lmkit.specs.tasks import get_task, metric_info
from lmkit.system.numbers import index_of_best

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.run.run import Run

STEP_POINTS = 300
"""Maximum number of points of a curve."""

STEP_COLUMNS = {"lr": "learning rate", "gradient_norm": "gradient norm"}
"""Column of a run's steps → title of its axis."""

STEP_HEIGHT = 200
"""Height of the chart of these columns in CSS pixels."""

SCATTER_POINTS = 800
"""Maximum number of test rows in a scatter plot."""

SMOOTHED_EPOCHS = 10
"""Below this number of epochs the smoothed loss of the steps is drawn as well."""

METRICS = {name: metric.axis for name, metric in metric_info().items() if metric.axis}
"""Metric → title of its axis. The first metric that all runs measure is drawn next to the loss."""


def learning_curves(runs: Run | Sequence[Run]) -> Chart:
    """Plot the loss, and accuracy or R², over the epochs of one run or of several runs.

    For a single run, the loss per step is drawn behind the epochs, thinned so that no extreme is lost. While a run
    trains, the chart shows the values recorded so far.

    Args:
        runs: one run, or a sequence of runs.

    Raises:
        DataError: no run was passed, or no run has taken a step yet.
    """
    candidates = list(runs) if isinstance(runs, Sequence) else [runs]
    drawn = [r for r in candidates if len(r.steps)]
    if not drawn:
        names = join_names(r.name for r in candidates)
        raise DataError(f"{names}: no step to draw yet; call run.wait() first" if names else "no run was given")
    single = len(drawn) == 1
    loss: list[Series] = []
    metric: list[Series] = []
    sentences = []
    marks: list[Mark] = []
    legend = legend_names(drawn)
    metric_name = next((m for m in METRICS if all(m in r.history for r in drawn)), "")
    for i, run in enumerate(drawn):
        history = run.history
        if single:
            loss += _step_loss_series(run.steps, history)
        for column, panel in (("loss", loss), (metric_name, metric)):
            panel += _single_run_series(history, column) if single else _run_series(legend[i], history, column, i)
        sentences.append(_describe_curves(run, history, metric_name))
        events = _marks(run, history, prefix="" if single else f"{run.name}: ")
        sentences += [mark.text for mark in events]
        marks += events
    x_title = _x_title(drawn)
    log, y_range = _loss_scale(loss)
    dashes = "; dashed: training" if any(series.style == "dashed" for series in loss) and not single else ""
    unit = "log scale" if log else "mean over rows"
    panels = [Plot(x_title, f"loss ({unit}{dashes})", tuple(loss), log, y_range, tuple(marks))]
    if metric:
        lowest, highest = min(min(s.y) for s in metric), max(max(s.y) for s in metric)
        worst = max(lowest, -1.0) if metric_name == "r2" else lowest  # R² is unbounded below in the first epochs
        best = highest if (limit := metric_info()[metric_name].best) is None else limit
        margin = max(0.01, 0.06 * (best - worst))
        panels.append(Plot(x_title, METRICS[metric_name], tuple(metric), False, (worst - margin, best + margin)))
    return Chart("Learning curves", tuple(panels), "\n".join(["Learning curves.", *sentences]))


def step_curves(runs: Run | Sequence[Run]) -> Chart:
    """Plot the learning rate, where it changes, and the gradient norm, where it was recorded, over the epochs.

    Args:
        runs: one run, or a sequence of runs.

    Raises:
        DataError: none of the runs has such values.
    """
    drawn = [r for r in (list(runs) if isinstance(runs, Sequence) else [runs]) if len(r.steps)]
    legend = legend_names(drawn)
    panels = []
    sentences = []
    for column, y_title in STEP_COLUMNS.items():
        series = []
        for i, run in enumerate(drawn):
            steps = run.steps
            count = steps[column].nunique() if column in steps else 0
            if count <= (column == "lr"):  # nothing recorded, or the same rate throughout
                continue
            x, y = decimate(steps["step"] / _steps_per_epoch(run.history), steps[column], STEP_POINTS)
            series.append(Series(legend[i], x, y, COLOURS[i % len(COLOURS)]))
            sentences.append(f"{run.name}: {y_title} {y[0]:.4g} → {y[-1]:.4g}, from {min(y):.4g} to {max(y):.4g}.")
        if series:
            lowest, highest = min(min(s.y) for s in series), max(max(s.y) for s in series)
            log = lowest > 0 and highest / lowest > LOG_FACTOR
            panels.append(Plot(_x_title(drawn), y_title, tuple(series), log))  # the ticks show that a scale is a log
    if not panels:
        raise DataError("no learning rate that changes, and no gradient norm, to draw")
    title = " and ".join(p.y_title for p in panels).capitalize()
    return Chart(title, tuple(panels), "\n".join([f"{title}.", *sentences]), height=STEP_HEIGHT)


def predictions(run: Run) -> Chart:
    """Plot the predictions on the test split: a confusion matrix for classification, residuals for regression.

    Raises:
        RunFailed: the run ended before it was evaluated.
        DataError: the run has no test split.
    """
    task = get_task(run.preprocessing.task)
    if not task.chart:
        raise DataError(f"{run.name} predicts {task.predicts}, of which there is no chart; use tables.samples(run)")
    return {"residuals": residuals, "confusion_matrix": confusion_matrix}[task.chart](run)


def confusion_matrix(run: Run) -> Chart:
    """Plot the confusion matrix of the test split. Waits for the end of the run.

    Raises:
        RunFailed: the run ended before it was evaluated.
        DataError: the run has no test split, or its task is regression.
    """
    import numpy as np
    import pandas as pd

    preprocessing = run.preprocessing
    task = get_task(preprocessing.task)
    if task.chart != "confusion_matrix":
        raise DataError(
            f"{run.name} predicts {task.predicts}, not classes; use charts.{task.chart or 'predictions'}(run)"
        )
    table = _test_predictions(run)
    n = len(preprocessing.classes)
    rows, columns = (pd.Categorical(table[c], categories=preprocessing.classes).codes for c in ("target", "prediction"))
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (rows, columns), 1)
    labels = tuple(shorten(label, 18) for label in preprocessing.labels)
    correct, total = int(np.trace(counts)), int(counts.sum())
    errors = counts - np.diag(np.diag(counts))
    largest = np.dstack(np.unravel_index(np.argsort(-errors, axis=None, kind="stable")[:3], errors.shape))[0]
    mistakes = [f"{labels[a]} predicted as {labels[b]}: {errors[a, b]}" for a, b in largest if errors[a, b]]
    text = f"Confusion matrix of the test split. {correct} of {total} rows correct ({correct / total:.1%}). " + (
        f"Most frequent mistakes: {'; '.join(mistakes)}." if mistakes else "No mistakes."
    )
    return Chart("Confusion matrix, test split", (Matrix(labels, tuple(tuple(r) for r in counts.tolist())),), text)


def residuals(run: Run) -> Chart:
    """Plot predicted against true values of the test split, and the residuals. Waits for the end of the run.

    Raises:
        RunFailed: the run ended before it was evaluated.
        DataError: the run has no test split, or its task is classification.
    """
    import numpy as np

    task = get_task(run.preprocessing.task)
    if task.chart != "residuals":
        raise DataError(
            f"{run.name} predicts {task.predicts}, not numbers; use charts.{task.chart or 'predictions'}(run)"
        )
    table = _test_predictions(run)
    targets, predictions = (table[c].to_numpy(dtype=np.float64) for c in ("target", "prediction"))
    errors = predictions - targets
    largest = int(np.abs(errors).argmax())
    text = (
        f"Residuals of the test split, in the unit of the target. {len(errors)} rows; mean absolute error "
        f"{format_number(np.abs(errors).mean())}; mean of predicted minus true value {format_number(errors.mean())}; "
        f"the largest error is {format_number(errors[largest])}, at a true value of {format_number(targets[largest])}."
    )
    indices = _select_rows(errors, SCATTER_POINTS)
    truth, guess, residual = (round_values(v[indices]) for v in (targets, predictions, errors))
    ends = [min(*truth, *guess), max(*truth, *guess)]
    panels = (
        Plot(
            "true value (unit of the target)",
            "predicted value (same unit)",
            (Series("exact", ends, ends, GREY, "guide"), Series("test row", truth, guess, BLUE, "points")),
        ),
        Plot(
            "predicted value (unit of the target)",
            "predicted − true (same unit)",
            (
                Series("exact", [min(guess), max(guess)], [0.0, 0.0], GREY, "guide"),
                Series("test row", guess, residual, BLUE, "points"),
            ),
        ),
    )
    return Chart("Residuals, test split", panels, text)


# -- plain data -----------------------------------------------------------------------------------


def decimate(x: Any, y: Any, points: int) -> tuple[list[float], list[float]]:
    """Reduce a curve to at most ``points`` points that look the same: the minimum and maximum of every bucket.

    Args:
        x, y: the curve, (n,) each, x ascending. Points with a non-finite y are dropped.
        points: number of points to keep, at least 4.

    Returns:
        x and y of the remaining points in order, including the first and the last, to five significant digits.

    >>> decimate(range(1000), [0.0] * 500 + [9.0] + [0.0] * 499, 4)
    ([0.0, 500.0, 999.0], [0.0, 9.0, 0.0])
    """
    import numpy as np

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) > points:
        edges = np.linspace(0, len(y), max(1, (points - 2) // 2) + 1).astype(int)
        indices = {0, len(y) - 1}
        for start, end in pairwise(edges):
            indices |= {start + int(y[start:end].argmin()), start + int(y[start:end].argmax())}
        selection = sorted(indices)
        x, y = x[selection], y[selection]
    return round_values(x), round_values(y)


def _single_run_series(history: pd.DataFrame, column: str) -> list[Series]:
    """The training and validation curves of a single run."""
    columns = ((column, "training", BLUE), (f"val_{column}", "validation", VERMILLION))
    return [Series(name, *_curve(history, c), colour) for c, name, colour in columns if _has_values(history, c)]


def _run_series(name: str, history: pd.DataFrame, column: str, i: int) -> list[Series]:
    """The curves of one of several runs, in its colour: validation as a line, training dashed."""
    colour = COLOURS[i % len(COLOURS)]
    columns = [c for c in (f"val_{column}", column) if _has_values(history, c)]
    return [Series(name, *_curve(history, c), colour, "dashed" if k else "line") for k, c in enumerate(columns)]


def _has_values(history: pd.DataFrame, column: str) -> bool:
    return column in history and bool(history[column].notna().any())


def _x_title(runs: Sequence[Run]) -> str:
    """Return what the x axis counts: epochs, or steps before the end of the first one."""
    return "epoch" if any(len(run.history) for run in runs) else "step"


def _curve(history: pd.DataFrame, column: str) -> tuple[list[float], list[float]]:
    return decimate(history["epoch"], history[column], STEP_POINTS)


def _step_loss_series(steps: pd.DataFrame, history: pd.DataFrame) -> list[Series]:
    """The loss per step, and its moving average while there are too few epochs to show the trend."""
    x = steps["step"] / _steps_per_epoch(history)
    series = [Series("training (per step)", *decimate(x, steps["loss"], STEP_POINTS), SKY, "faint")]
    if len(history) >= SMOOTHED_EPOCHS:
        return series
    smoothed = steps["loss"].ewm(span=max(2, len(steps) // 15)).mean().where(steps["loss"].notna())
    return [*series, Series("training (smoothed)", *decimate(x, smoothed, STEP_POINTS // 4), GREEN, "dashed")]


def _steps_per_epoch(history: pd.DataFrame) -> float:
    """Steps per epoch; 1 before the end of the first epoch, while the x axis counts steps."""
    return float(history["step"].iloc[-1] / history["epoch"].iloc[-1]) if len(history) else 1.0


def _marks(run: Run, history: pd.DataFrame, prefix: str) -> list[Mark]:
    """The commands and interruptions of a run as marks on its curves."""
    events = [(e.data.get("step", 0), sentence(e)) for e in run.events if e.type != "started"]
    return [Mark(step / _steps_per_epoch(history), prefix + text) for step, text in events if text]


def _loss_scale(series: list[Series]) -> tuple[bool, tuple[float, float] | None]:
    """Whether to use a logarithmic loss axis, and its range without outliers of single steps."""
    import numpy as np

    lines = [s.y for s in series if s.style != "faint" and s.y]
    faint = [np.quantile(s.y, [0.02, 0.98]).tolist() for s in series if s.style == "faint" and s.y]
    if not lines:
        return False, None
    low, high = min(min(y) for y in lines + faint), max(max(y) for y in lines + faint)
    if low > 0 and high / low > LOG_FACTOR:
        return True, (low / 1.3, high * 1.3)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    return False, (low - margin, high + margin)


def _describe_curves(run: Run, history: pd.DataFrame, metric: str) -> str:
    """Describe the curves of a run in a sentence."""
    if not len(history):
        return f"{run.name}: {len(run.steps)} steps, no completed epoch; loss {run.steps['loss'].iloc[-1]:.4g}."
    first, last = history.iloc[0], history.iloc[-1]
    parts = [f"{run.name}: {epoch_text(last['epoch'])} epochs, {int(last['step'])} steps"]
    for column, name in (
        ("loss", "training loss"),
        ("val_loss", "validation loss"),
        (metric, f"training {metric}"),
        (f"val_{metric}", f"validation {metric}"),
    ):
        if column in history:
            parts.append(f"{name} {first[column]:.4g} → {last[column]:.4g}")
    if "val_loss" in history and (best_row := index_of_best(history["val_loss"])) is not None:
        best = history.iloc[best_row]
        parts.append(f"lowest validation loss {best['val_loss']:.4g} in epoch {epoch_text(best['epoch'])}")
    return "; ".join(parts) + "."


def _test_predictions(run: Run) -> pd.DataFrame:
    table = run.predictions
    if not len(table):
        raise DataError(f"{run.name} has no test split; train with data: {{test: 0.2}}")
    return table


def _select_rows(residuals: np.ndarray, count: int) -> np.ndarray:
    """Indices of the rows to draw: all, or the largest residuals and evenly spaced other rows."""
    import numpy as np

    if len(residuals) <= count:
        return np.arange(len(residuals))
    largest = np.argsort(-np.abs(residuals), kind="stable")[: count // 10]
    evenly_spaced = np.linspace(0, len(residuals) - 1, count - len(largest)).astype(int)
    return np.union1d(largest, evenly_spaced)
