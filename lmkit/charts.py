"""Charts of a run: its curves, and what the model says of the test part, as plain data that ``lmkit.plots`` draws.

Those of a sweep are made in ``lmkit.sweep_charts``, and found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lmkit.errors import DataError
from lmkit.plots import BLACK, BLUE, COLOURS, GREEN, GREY, SKY, SYMBOLS, VERMILLION, Chart, Mark, Matrix, Plot, Series
from lmkit.progress import epoch_text, sentence
from lmkit.sweep_charts import importance as importance
from lmkit.sweep_charts import parallel_coordinates as parallel_coordinates
from lmkit.sweep_charts import sweep_history as sweep_history

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.deploy.comparison import Comparison
    from lmkit.deploy.variant import Variant
    from lmkit.planning.plan import Plan
    from lmkit.run import Run

STEP_POINTS = 300
"""Points that the losses of all steps are thinned to."""

SCATTER_POINTS = 800
"""Rows of the test part that are drawn at most."""

LOG_FROM = 20.0
"""A loss that falls by more than this factor is drawn on a logarithmic scale."""

SMOOTH_UNDER = 10
"""With fewer epochs than this their means are too few to see the course; the smoothed steps show it."""


METRICS = {
    "accuracy": "accuracy (share of rows)",
    "r2": "R² (1 is perfect)",
    "bits_per_byte": "bits a byte of the text",
}
"""What is drawn beside the loss, the first that all runs measure, and the title of its axis."""


def learning_curves(runs: Run | Sequence[Run]) -> Chart:
    """Loss, and accuracy or R², over the epochs: of one run, or of several side by side.

    Of one run the loss of every step is shown behind the epochs', thinned so that no extreme is lost. It may be
    called while a run trains: it shows what there is.

    Args:
        runs: one run, or a sequence of them.

    Raises:
        DataError: no run was given, or none has taken a step yet.
    """
    several = list(runs) if isinstance(runs, Sequence) else [runs]
    chart = [r for r in several if len(r.steps)]
    if not chart:
        names = ", ".join(r.name for r in several)
        raise DataError(f"{names or 'no run was given'}: there is no step to draw yet; run.wait() first")
    single = len(chart) == 1
    loss: list[Series] = []
    metric: list[Series] = []
    words = []
    marks: list[Mark] = []
    metric_name = next((m for m in METRICS if all(m in r.history for r in chart)), "")
    for i, run in enumerate(chart):
        history = run.history
        if single:
            loss += _step_series(run.steps, history)
        for column, panel in (("loss", loss), (metric_name, metric)):
            panel += _own_curves(history, column) if single else _one_of_several(run, history, column, i)
        words.append(_curve_words(run, history, metric_name))
        happened = _marks(run, history, called="" if single else f"{run.name}: ")
        words += [mark.text for mark in happened]
        marks += happened
    x_title = "epoch" if any(len(r.history) for r in chart) else "step"
    log, y_range = _loss_scale(loss)
    dashes = "; dashed: training" if any(series.style == "dashed" for series in loss) and not single else ""
    unit = "log scale" if log else "mean over the rows"
    panels = [Plot(x_title, f"loss ({unit}{dashes})", tuple(loss), log, y_range, tuple(marks))]
    if metric:
        lowest, highest = min(min(s.y) for s in metric), max(max(s.y) for s in metric)
        worst = max(lowest, -1.0) if metric_name == "r2" else lowest  # the first epochs' R² can be any depth below 0
        best = highest if metric_name == "bits_per_byte" else 1.0
        margin = max(0.01, 0.06 * (best - worst))
        panels.append(Plot(x_title, METRICS[metric_name], tuple(metric), False, (worst - margin, best + margin)))
    return Chart("Learning curves", tuple(panels), "\n".join(["Learning curves.", *words]))


def comparison(compared: Comparison) -> Chart:
    """Latency of one call against the metric, a point a variant whose area is its size; the front is drawn.

    The front are the variants that no other one beats in both; their names stand beside them, as far as there is room.
    The others tell theirs where the figure is pointed at, and all do in its text. A run is a symbol where there are
    several, a group of techniques is a colour; an axis is logarithmic where what it shows is far apart.

    Raises:
        DataError: nothing has been measured yet.
    """
    from lmkit.deploy.recommendation import bytes_text, main_metric, seconds_text
    from lmkit.deploy.techniques import GROUPS
    from lmkit.deploy.variant import labels

    shown = compared.measured
    if not shown:
        raise DataError("there is no variant to draw yet; measure one: lk.compare(run)")
    metric, largest = main_metric(shown[0]), max(v.size_bytes for v in shown)
    several, called = len({v.run for v in shown}) > 1, labels(compared.variants)

    unit, a_second = ("µs", 1e6) if max(v.latency[0].p50.value for v in shown) < 2e-3 else ("ms", 1e3)

    def point(v: Variant) -> tuple[float, float]:
        return a_second * v.latency[0].p50.value, v.metrics.get(metric, 0.0)

    front = _front([v for v in shown if not v.flags], metric)
    symbols = dict(zip(dict.fromkeys(v.run for v in shown), [*SYMBOLS] * len(shown), strict=False))
    log_x, log_y = _far_apart([point(v)[0] for v in shown], 3), _far_apart([point(v)[1] for v in shown], 10)
    groups = []
    colours = dict(zip(GROUPS, (*COLOURS, BLACK), strict=True))  # the same whatever has been measured by now
    for group in sorted({v.group for v in shown}, key=GROUPS.index):
        colour = colours[group]
        own = [v for v in shown if v.group == group]
        x, y = zip(*map(point, own), strict=True)
        spans = tuple((a_second * v.latency[0].p50.low, a_second * v.latency[0].p50.high) for v in own)
        sizes = tuple(8 + 26 * (v.size_bytes / largest) ** 0.5 for v in own)
        names = tuple(called[v.name] for v in own)
        own_symbols = tuple(symbols[v.run] for v in own) if several else ()
        told = tuple(v in front for v in own)
        groups.append(Series(group, list(x), list(y), colour, "points", sizes, spans, names, told, own_symbols))
    xs, ys = zip(*sorted(map(point, front)), strict=True) if front else ((), ())
    guide = Series("front", list(xs), list(ys), GREY, "guide")
    # series without points: what a symbol means
    of_run = {v.run: called[v.name].removesuffix(f"/{v.technique}") for v in shown}
    runs = [
        Series(of_run[run], [], [], GREY, "points", symbols=(symbol,)) for run, symbol in symbols.items() if several
    ]
    batch = shown[0].latency[0].batch
    panel = Plot(
        f"{unit} a call of {batch} row{'s' if batch > 1 else ''}{' (log scale)' if log_x else ''}",
        f"{metric}{' (log scale)' if log_y else ''}",
        (guide, *groups, *runs),
        log=log_y,
        log_x=log_x,
    )
    words = [
        f"{called[v.name]}: {seconds_text(v.latency[0].p50.value)} a call, {bytes_text(v.size_bytes)}, "
        f"{metric} {v.metrics.get(metric, float('nan')):.4g}"
        for v in shown
    ]
    title = "Latency and quality; area: size on disk; dashed: what no other variant beats"
    return Chart(title, (panel,), "\n".join(["Latency and quality.", *words]))


def _front(variants: list[Variant], metric: str) -> list[Variant]:
    """Those that no other one beats in latency and metric at once, the fastest first; of equal ones the smallest."""
    from lmkit.deploy.recommendation import HIGHER

    sign = -1 if metric in HIGHER else 1
    best = float("inf")
    found: list[Variant] = []

    def score(v: Variant) -> float:
        return sign * v.metrics.get(metric, 0.0)

    for v in sorted(variants, key=lambda v: (v.latency[0].p50.value, score(v), v.size_bytes)):
        if score(v) < best:
            best = score(v)
            found.append(v)
    return found


def _far_apart(values: list[float], times: float) -> bool:
    """Whether they are better seen on a logarithmic axis."""
    return min(values) > 0 and max(values) > times * min(values)


def predictions(run: Run) -> Chart:
    """What the model says of the test part: a confusion matrix for classes, residuals for numbers.

    Raises:
        RunFailed: the run did not get that far.
        DataError: it has no test part.
    """
    if run.preprocessing.task == "language":
        raise DataError(f"{run.name} is a language model, which has no predictions to draw; use tables.samples(run)")
    return residuals(run) if run.preprocessing.task == "regression" else confusion_matrix(run)


def confusion_matrix(run: Run) -> Chart:
    """How often each class of the test part was predicted as which. Waits for the end of the run.

    Raises:
        RunFailed: the run did not get that far.
        DataError: it has no test part, or predicts numbers.
    """
    import numpy as np
    import pandas as pd

    known = run.preprocessing
    if known.task == "regression":
        raise DataError(f"{run.name} predicts numbers, which have no confusion matrix; use charts.residuals(run)")
    table = _test_part(run)
    n = len(known.classes)
    rows, columns = (pd.Categorical(table[c], categories=known.classes).codes for c in ("target", "prediction"))
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (rows, columns), 1)
    labels = tuple(_short(label) for label in known.labels)
    right, total = int(np.trace(counts)), int(counts.sum())
    wrong = counts - np.diag(np.diag(counts))
    worst = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:3], wrong.shape))[0]
    told = [f"{labels[a]} taken for {labels[b]}: {wrong[a, b]}" for a, b in worst if wrong[a, b]]
    text = f"Confusion matrix of the test part. {right} of {total} rows right ({right / total:.1%}). " + (
        f"Most frequent mistakes: {'; '.join(told)}." if told else "No mistakes."
    )
    return Chart("Confusion matrix, test part", (Matrix(labels, tuple(tuple(r) for r in counts.tolist())),), text)


def residuals(run: Run) -> Chart:
    """Predicted against true values of the test part, and what is left between them. Waits for the end of the run.

    Raises:
        RunFailed: the run did not get that far.
        DataError: it has no test part, or predicts classes.
    """
    import numpy as np

    if run.preprocessing.task != "regression":
        raise DataError(f"{run.name} predicts classes, which have no residuals; use charts.confusion_matrix(run)")
    table = _test_part(run)
    targets, predictions = (table[c].to_numpy(dtype=np.float64) for c in ("target", "prediction"))
    errors = predictions - targets
    largest = int(np.abs(errors).argmax())
    text = (
        f"Residuals of the test part, in the unit of the target. {len(errors)} rows; mean absolute error "
        f"{np.abs(errors).mean():.4g}; mean of prediction minus truth {errors.mean():.4g}; the largest error is "
        f"{errors[largest]:.4g}, at a true value of {targets[largest]:.4g}."
    )
    shown = _sample(errors, SCATTER_POINTS)
    truth, guess, left = (_rounded(v[shown]) for v in (targets, predictions, errors))
    ends = [min(*truth, *guess), max(*truth, *guess)]
    panels = (
        Plot(
            "true value (unit of the target)",
            "predicted value (same unit)",
            (Series("exact", ends, ends, GREY, "guide"), Series("row of the test part", truth, guess, BLUE, "points")),
        ),
        Plot(
            "predicted value (unit of the target)",
            "predicted − true (same unit)",
            (
                Series("exact", [min(guess), max(guess)], [0.0, 0.0], GREY, "guide"),
                Series("row of the test part", guess, left, BLUE, "points"),
            ),
        ),
    )
    return Chart("Residuals, test part", panels, text)


def over_devices(plan: Plan) -> Chart:
    """What a large model takes on each of many devices, by what is divided (ZeRO 1–3), beside what they have.

    Args:
        plan: of a transformer.

    Raises:
        DataError: it is of another model.
    """
    from lmkit.planning import sharding

    model = plan.experiment.model
    if model.family != "transformer":
        raise DataError(f"given the plan of {model.family!r}, expected that of a transformer: its formulas are public")
    powers = list(range(11))
    series = []
    for strategy, colour in zip(sharding.STRATEGIES, COLOURS, strict=False):
        counts = tuple(2**p for p in powers)
        ways = sharding.ways(model, plan.signature, plan.parameters, counts=counts, memories=(80,))
        least = {way.devices: way.bytes / sharding.GB for way in ways if way.strategy == strategy}
        x = [float(p) for p in powers if 2**p in least]
        series.append(Series(strategy, x, _rounded([least[int(2**p)] for p in x]), colour))
    for memory in sharding.MEMORIES:
        series.append(Series(f"{memory} GB", [0.0, 10.0], [float(memory)] * 2, GREY, "guide"))
    panel = Plot("devices, as a power of 2 (3 is 8, 6 is 64)", "GB on each device", tuple(series), log=True)
    words = "; ".join(
        f"{s.name} {s.y[0]:.4g} to {s.y[-1]:.4g} GB on {2 ** s.x[0]:.0f} to {2 ** s.x[-1]:.0f} devices"
        for s in series
        if s.style == "line"
    )
    text = f"{plan.experiment.name}, {plan.parameters / 1e9:.1f} billion parameters over devices: {words}"
    return Chart(f"{plan.parameters / 1e9:.1f} billion parameters over devices", (panel,), text)


# -- plain data -----------------------------------------------------------------------------------


def decimate(x: Any, y: Any, points: int) -> tuple[list[float], list[float]]:
    """At most ``points`` of a curve that look the same: of every bucket its lowest and its highest.

    Args:
        x, y: the curve, (n,) each, x ascending. What is not finite is left out.
        points: how many to keep, at least 4.

    Returns:
        x and y of those kept, in order, with the first and the last among them, to five significant digits.

    >>> decimate(range(1000), [0.0] * 500 + [9.0] + [0.0] * 499, 4)
    ([0.0, 500.0, 999.0], [0.0, 9.0, 0.0])
    """
    import numpy as np

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) > points:
        edges = np.linspace(0, len(y), max(1, (points - 2) // 2) + 1).astype(int)
        kept = {0, len(y) - 1}
        for start, end in pairwise(edges):
            kept |= {start + int(y[start:end].argmin()), start + int(y[start:end].argmax())}
        chosen = sorted(kept)
        x, y = x[chosen], y[chosen]
    return _rounded(x), _rounded(y)


def _own_curves(history: pd.DataFrame, column: str) -> list[Series]:
    """A run's training and validation part over the epochs."""
    named = ((column, "training", BLUE), (f"val_{column}", "validation", VERMILLION))
    return [Series(name, *_points(history, c), colour) for c, name, colour in named if _known(history, c)]


def _one_of_several(run: Run, history: pd.DataFrame, column: str, i: int) -> list[Series]:
    """The same in one colour, under the run's name: validation, and dashed the training part."""
    name, colour = _short(run.name.split("-", 2)[-1], 32), COLOURS[i % len(COLOURS)]
    known = [c for c in (f"val_{column}", column) if _known(history, c)]
    return [Series(name, *_points(history, c), colour, "dashed" if k else "line") for k, c in enumerate(known)]


def _known(history: pd.DataFrame, column: str) -> bool:
    return column in history and bool(history[column].notna().any())


def _points(history: pd.DataFrame, column: str) -> tuple[list[float], list[float]]:
    return decimate(history["epoch"], history[column], STEP_POINTS)


def _step_series(steps: pd.DataFrame, history: pd.DataFrame) -> list[Series]:
    """The loss of every step: as it was, and smoothed while there are too few epochs to show the course."""
    x = steps["step"] / _per_epoch(history)
    found = [Series("training, each step", *decimate(x, steps["loss"], STEP_POINTS), SKY, "faint")]
    if len(history) >= SMOOTH_UNDER:
        return found
    smooth = steps["loss"].ewm(span=max(2, len(steps) // 15)).mean().where(steps["loss"].notna())
    return [*found, Series("training, smoothed", *decimate(x, smooth, STEP_POINTS // 4), GREEN, "dashed")]


def _per_epoch(history: pd.DataFrame) -> float:
    """Steps an epoch; 1 before the first has ended, while steps are what is counted."""
    return float(history["step"].iloc[-1] / history["epoch"].iloc[-1]) if len(history) else 1.0


def _marks(run: Run, history: pd.DataFrame, called: str) -> list[Mark]:
    """What was asked of a run, and where it was interrupted, as far as it is of interest to who reads its curves."""
    told = [(e.data.get("step", 0), sentence(e)) for e in run.events if e.type != "started"]
    return [Mark(step / _per_epoch(history), called + text) for step, text in told if text]


def _loss_scale(series: list[Series]) -> tuple[bool, tuple[float, float] | None]:
    """Whether the losses want a logarithmic axis, and the range that shows them without single outliers."""
    import numpy as np

    lines = [s.y for s in series if s.style != "faint" and s.y]
    faint = [np.quantile(s.y, [0.02, 0.98]).tolist() for s in series if s.style == "faint" and s.y]
    if not lines:
        return False, None
    low, high = min(min(y) for y in lines + faint), max(max(y) for y in lines + faint)
    if low > 0 and high / low > LOG_FROM:
        return True, (low / 1.3, high * 1.3)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    return False, (low - margin, high + margin)


def _curve_words(run: Run, history: pd.DataFrame, metric: str) -> str:
    """One run's curves in a sentence."""
    if not len(history):
        return f"{run.name}: {len(run.steps)} steps, no whole epoch yet; loss {run.steps['loss'].iloc[-1]:.4g}."
    first, last = history.iloc[0], history.iloc[-1]
    words = [f"{run.name}: {epoch_text(last['epoch'])} epochs, {int(last['step'])} steps"]
    for column, name in (
        ("loss", "training loss"),
        ("val_loss", "validation loss"),
        (metric, f"training {metric}"),
        (f"val_{metric}", f"validation {metric}"),
    ):
        if column in history:
            words.append(f"{name} {first[column]:.4g} → {last[column]:.4g}")
    if "val_loss" in history and history["val_loss"].notna().any():
        best = history.iloc[history["val_loss"].argmin()]
        words.append(f"lowest validation loss {best['val_loss']:.4g} in epoch {epoch_text(best['epoch'])}")
    return "; ".join(words) + "."


def _test_part(run: Run) -> pd.DataFrame:
    table = run.predictions
    if not len(table):
        raise DataError(f"{run.name} has no test part to show; train with data: {{test: 0.2}}")
    return table


def _sample(left: np.ndarray, points: int) -> np.ndarray:
    """Rows to draw: all, or the largest residuals and an even choice of the rest."""
    import numpy as np

    if len(left) <= points:
        return np.arange(len(left))
    extreme = np.argsort(-np.abs(left), kind="stable")[: points // 10]
    even = np.linspace(0, len(left) - 1, points - len(extreme)).astype(int)
    return np.union1d(extreme, even)


def _rounded(values: Any) -> list[float]:
    """Five significant digits: what can be seen, at half the size."""
    return [float(f"{v:.5g}") for v in values]


def _short(label: str, most: int = 18) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"
