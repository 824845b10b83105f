"""The result of a run: its main test metric with the interval of what other test rows would have given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.display.units import format_number
from lmkit.specs.tasks import metric_info

if TYPE_CHECKING:
    import numpy as np

    from lmkit.run.run import Run

Z = 1.959963984540054
"""The quantile of the normal distribution for an interval of 95 %."""

RESAMPLES = 1_000
"""Resamples of a bootstrap."""

MAX_DRAWN = 20_000
"""Rows of a resample, at most."""

MIN_ROWS = 10
"""Number of test rows from which an interval is given."""


class Result(NamedTuple):
    """A metric of the test split.

    Attributes:
        metric: its name.
        value: the metric.
        rows: number of test rows; 0 if unknown.
        interval: its 95 % interval; None without the predictions.
    """

    metric: str
    value: float
    rows: int = 0
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        text = f"test {self.metric} {format_number(self.value)}"
        if self.interval:
            text += f", 95 % interval {format_number(self.interval[0])} to {format_number(self.interval[1])}"
        return f"{text}, {self.rows:,} rows" if self.rows else text


def result(run: Run) -> Result | None:
    """Return the main test metric of a run that has been evaluated; None before. Does not wait for its end."""
    status = run.status
    metrics = status.metrics or {}
    name = next((m for m in [*metric_info(), "loss"] if m in metrics and metrics[m] is not None), "")
    if not name:
        return None
    value = float(metrics[name])
    if status.live or not (run.path / "predictions.parquet").is_file():
        return Result(name, value)
    table = run.predictions
    targets, predictions = table["target"].to_numpy(), table["prediction"].to_numpy()
    return Result(name, value, len(table), test_interval(name, targets, predictions))


def test_interval(metric: str, targets: np.ndarray, predictions: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric over the choice of test rows; None where it cannot be computed from them.

    For accuracy: Wilson's score interval (Wilson, 1927). For errors and R² of a regression: the percentiles of a
    bootstrap over the rows (Efron, 1979), drawn from a fixed seed. Of very many rows m out of n are drawn, and the
    deviations scaled by √(m/n) (Bickel, Götze and van Zwet, 1997).

    Args:
        metric: the name of the metric.
        targets, predictions: (rows,) each, in the order of the rows.

    >>> import numpy as np
    >>> low, high = test_interval("accuracy", np.ones(100), np.repeat([1, 0], [90, 10]))
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    import numpy as np

    n = len(targets)
    if n < MIN_ROWS:
        return None
    if metric == "accuracy":
        share = float(np.mean(targets == predictions))
        center, half = share + Z**2 / (2 * n), Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
        return (center - half) / (1 + Z**2 / n), (center + half) / (1 + Z**2 / n)
    score = _SCORES.get(metric)
    if score is None:
        return None
    truth, guess = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    draw = np.random.default_rng(0)
    drawn = min(n, MAX_DRAWN)
    scores = [score(truth[rows], guess[rows]) for rows in (draw.integers(0, n, drawn) for _ in range(RESAMPLES))]
    low, high = np.nanquantile(scores, [0.025, 0.975])
    if drawn < n:
        value = score(truth, guess)
        low, high = (value + math.sqrt(drawn / n) * (end - value) for end in (low, high))
    return float(low), float(high)


def _r2(truth: np.ndarray, guess: np.ndarray) -> float:
    total = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - guess) ** 2).sum()) / total if total else math.nan


_SCORES: dict[str, Any] = {
    "r2": _r2,
    "mae": lambda truth, guess: float(abs(truth - guess).mean()),
    "mse": lambda truth, guess: float(((truth - guess) ** 2).mean()),
    "rmse": lambda truth, guess: float(((truth - guess) ** 2).mean() ** 0.5),
}
"""Metric of a regression → its function of (rows,) targets and predictions."""
