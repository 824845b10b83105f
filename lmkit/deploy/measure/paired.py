"""Intervals of differences between two models on the same rows.

Both models answer the same rows, so most of what varies from one draw of rows to another cancels in the difference;
an interval of each model's own score would hide it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lmkit.deploy.measure.statistics import Interval

if TYPE_CHECKING:
    import numpy as np

LEVEL, Z = 0.95, 1.959963984540054
"""Level of the intervals, and the normal quantile of (1 + level) / 2."""

DRAWS = 2000
"""Resamples of a bootstrap."""

CUSTOM_DRAWS = 400
"""Resamples of a score that is a function of its own: each takes two calls of it."""

MAX_BLOCKS = 2000
"""Largest number of resampled units; of more rows, means of neighbouring rows are resampled, which vary as much."""


def share_difference(variant: np.ndarray, baseline: np.ndarray) -> Interval:
    """Return the difference of two shares of the same rows, such as accuracies, with its 95 % interval.

    The interval is the wider of the exact one given the rows that only one model gets right, which holds 0 unless
    McNemar's exact test rejects (McNemar, *Psychometrika*, 1947; Clopper and Pearson, *Biometrika*, 1934), and the
    score interval (Tango, *Statistics in Medicine*, 1998), which is no point where there is no such row.

    Args:
        variant, baseline: (rows,), whether each model is right.

    >>> import numpy as np
    >>> right = np.ones(360, bool)
    >>> interval = share_difference(right, right)
    >>> f"{interval.value:.1%} [{interval.low:.2%}, {interval.high:.2%}]"
    '0.0% [-1.06%, 1.06%]'
    """
    rows = len(variant)
    gains, losses = int((variant & ~baseline).sum()), int((~variant & baseline).sum())
    exact, score = _conditional_interval(gains, losses, rows), _score_interval(gains, losses, rows)
    return Interval((gains - losses) / rows, min(exact[0], score[0]), max(exact[1], score[1]))


def _conditional_interval(gains: int, losses: int, rows: int) -> tuple[float, float]:
    """Return the interval of (gains − losses) ÷ rows from Clopper and Pearson's of the share of gains."""
    from scipy.special import betaincinv

    discordant = gains + losses
    if not discordant:
        return 0.0, 0.0
    tail = (1 - LEVEL) / 2
    low = float(betaincinv(gains, losses + 1, tail)) if gains else 0.0
    high = float(betaincinv(gains + 1, losses, 1 - tail)) if losses else 1.0
    return discordant / rows * (2 * low - 1), discordant / rows * (2 * high - 1)


def _score_interval(gains: int, losses: int, rows: int) -> tuple[float, float]:
    """Return Tango's interval: the differences that the score test does not reject."""

    def statistic(difference: float) -> float:
        """Return the score statistic where the true difference is ``difference``; it falls as that rises."""
        b = -gains - losses + (2 * rows - gains + losses) * difference
        root = max(0.0, b * b + 8 * rows * losses * difference * (1 - difference)) ** 0.5
        share = (root - b) / (4 * rows)  # of rows that only the baseline gets right, the most likely one
        variance = rows * (2 * share + difference * (1 - difference))
        excess = gains - losses - rows * difference
        return excess / variance**0.5 if variance > 0 else excess * float("inf") if excess else 0.0

    estimate = (gains - losses) / rows
    ends = []
    for limit, target in ((-1.0, Z), (1.0, -Z)):
        inside, outside = estimate, limit
        for _ in range(60):
            middle = (inside + outside) / 2
            rejected = statistic(middle) > target if target > 0 else statistic(middle) < target
            inside, outside = (inside, middle) if rejected else (middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


def bootstrap_difference(columns: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """Return a function of column means with its 95 % interval, the bootstrap's percentiles over rows.

    (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.)

    Args:
        columns: (rows, k), values of each row, those of both models side by side.
        statistic: means (…, k) → differences (…,).
    """
    import numpy as np

    rows = len(columns)
    blocks = columns
    if rows > MAX_BLOCKS:
        blocks = np.stack([part.mean(axis=0) for part in np.array_split(columns, MAX_BLOCKS)])
    draw = np.random.default_rng(0)
    size = max(1, 2**20 // blocks.size)
    resampled = [
        blocks[draw.integers(0, len(blocks), (min(size, DRAWS - i), len(blocks)))].mean(axis=1)
        for i in range(0, DRAWS, size)
    ]
    low, high = np.percentile(statistic(np.concatenate(resampled)), [2.5, 97.5])
    value = float(statistic(columns.mean(axis=0)))
    return Interval(value, min(float(low), value), max(float(high), value))


def resampled_difference(difference: Callable[[np.ndarray], float | None], rows: int) -> Interval | None:
    """Return a difference of any two scores of the same rows, with its 95 % interval of the bootstrap over rows.

    At most ``MAX_BLOCKS`` rows are drawn at once, so that its cost is bounded; of more rows the deviations are scaled
    by √(drawn ÷ all) (Bickel, Götze and van Zwet, *Statistica Sinica*, 1997).

    Args:
        difference: numbers of rows (n,), some of them several times → the difference; None or not finite: it is not
            defined for them, as an area under a curve is not for rows of one class.
        rows: how many there are.

    Returns:
        None where it is not defined for all rows, or for half of the draws.
    """
    import numpy as np

    value = difference(np.arange(rows))
    if value is None or not np.isfinite(value):
        return None
    draw, size = np.random.default_rng(0), min(rows, MAX_BLOCKS)
    drawn = (difference(draw.integers(0, rows, size)) for _ in range(CUSTOM_DRAWS))
    values = np.array([v for v in drawn if v is not None and np.isfinite(v)], dtype=np.float64)
    if len(values) < CUSTOM_DRAWS // 2:
        return None
    center = value if size == rows else values.mean()
    low, high = value + (np.percentile(values, [2.5, 97.5]) - center) * (size / rows) ** 0.5
    return Interval(float(value), min(float(low), value), max(float(high), value))


def auc_difference(variant: np.ndarray, baseline: np.ndarray, truth: np.ndarray) -> Interval:
    """Return the difference of two areas under the ROC curve, the mean over classes, with its 95 % interval.

    (DeLong, DeLong and Clarke-Pearson, *Biometrics*, 1988.)

    Args:
        variant, baseline: scores (rows, classes).
        truth: (rows, classes), whether a row belongs to a class; each column holds both.
    """
    import numpy as np

    (first, a), (second, b) = _auc_and_influence(variant, truth), _auc_and_influence(baseline, truth)
    half = Z * float(np.sqrt(((a - b) ** 2).sum()))
    return Interval(first - second, first - second - half, first - second + half)


def _auc_and_influence(scores: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the area, and by how much each row moves it (rows,)."""
    import numpy as np
    from scipy.stats import rankdata

    influence, areas = np.zeros(len(scores)), []
    for values, belongs in zip(scores.T, truth.T, strict=True):
        ranks, positive, negative = rankdata(values), values[belongs], values[~belongs]
        above = (ranks[belongs] - rankdata(positive)) / len(negative)  # share of the other rows that are below a row
        below = 1 - (ranks[~belongs] - rankdata(negative)) / len(positive)
        area = float(above.mean())
        areas.append(area)
        influence[belongs] += (above - area) / len(positive)
        influence[~belongs] += (below - area) / len(negative)
    return float(np.mean(areas)), influence / len(areas)
