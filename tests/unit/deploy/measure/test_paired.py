"""Intervals of differences on the same rows, held to exact tests, brute force and the normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score

from lmkit.deploy.measure.paired import auc_difference, bootstrap_difference, resampled_difference, share_difference

draw = np.random.default_rng(8)


def pair(gains: int, losses: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models, of which the first alone is right in ``gains`` rows and the second alone in ``losses``."""
    first, second = np.ones(rows, bool), np.ones(rows, bool)
    second[:gains], first[gains : gains + losses] = False, False
    return first, second


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (3, 0), (5, 0), (6, 0), (0, 6), (9, 2), (10, 2), (40, 60)])
def test_a_share_differs_only_where_the_exact_test_of_mcnemar_rejects(gains: int, losses: int) -> None:
    interval = share_difference(*pair(gains, losses, 360))
    assert interval.value == pytest.approx((gains - losses) / 360)
    assert interval.low <= interval.value <= interval.high
    p = stats.binomtest(gains, gains + losses).pvalue if gains + losses else 1.0
    assert (not interval.low <= 0 <= interval.high) == (p < 0.05)


@pytest.mark.parametrize(("gains", "losses", "rows"), [(0, 0, 50), (2, 7, 60), (30, 45, 300)])
def test_a_share_has_no_narrower_interval_than_that_of_the_score_test(gains: int, losses: int, rows: int) -> None:
    def accepts(difference: float) -> bool:
        """The score test, its nuisance parameter by maximizing the likelihood."""

        def cost(share: float) -> float:
            counts = (gains, losses, rows - gains - losses)
            shares = (share + difference, share, 1 - 2 * share - difference)
            return -sum(n * np.log(max(p, 1e-300)) for n, p in zip(counts, shares, strict=True))

        low, high = max(0.0, -difference), (1 - difference) / 2
        share = optimize.minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        variance = rows * (2 * share + difference - difference**2)
        return bool((gains - losses - rows * difference) ** 2 <= 1.96**2 * variance)

    interval = share_difference(*pair(gains, losses, rows))
    accepted = [d for d in np.linspace(-0.5, 0.5, 401) if accepts(d)]
    assert interval.low <= accepted[0] + 1e-3
    assert interval.high >= accepted[-1] - 1e-3


@pytest.mark.parametrize("rows", [400, 30_000])
def test_a_mean_differs_by_the_normal_interval_of_its_paired_differences(rows: int) -> None:
    common = draw.exponential(5.0, rows)
    values = np.stack([common + draw.normal(0.02, 1, rows), common], axis=1)
    interval = bootstrap_difference(values, lambda means: means[..., 0] - means[..., 1])
    differences = values[:, 0] - values[:, 1]
    half = 1.96 * differences.std() / np.sqrt(rows)
    assert interval.value == pytest.approx(differences.mean())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_equal_models_do_not_differ() -> None:
    values = np.repeat(draw.normal(size=(50, 1)), 2, axis=1)
    interval = bootstrap_difference(values, lambda means: means[..., 0] - means[..., 1])
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)


def test_areas_under_the_curve_differ_by_the_interval_of_pairs_of_rows() -> None:
    truth = draw.integers(0, 3, 150)[:, None] == np.arange(3)
    first = truth + draw.normal(size=(150, 3)).round(1)  # with ties
    second = first + draw.normal(0, 0.5, size=(150, 3)).round(1)
    interval = auc_difference(first, second, truth)
    areas = [roc_auc_score(truth, scores, average="macro") for scores in (first, second)]
    assert interval.value == pytest.approx(areas[0] - areas[1])
    moved = np.zeros(150)
    for c in range(3):
        inside = truth[:, c]
        kernels = [np.sign(s[inside, c][:, None] - s[~inside, c]) / 2 + 0.5 for s in (first, second)]
        kernel = kernels[0] - kernels[1]
        moved[inside] += (kernel.mean(1) - kernel.mean()) / inside.sum() / 3
        moved[~inside] += (kernel.mean(0) - kernel.mean()) / (~inside).sum() / 3
    half = 1.96 * np.sqrt((moved**2).sum())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=1e-3)


@pytest.mark.parametrize("rows", [500, 2000, 20_000])
def test_a_score_that_is_any_function_has_the_interval_of_its_standard_error(rows: int) -> None:
    draw = np.random.default_rng(5)
    first, second = draw.normal(0.3, 1.0, rows), draw.normal(0.0, 1.0, rows)
    interval = resampled_difference(lambda i: float(first[i].mean() - second[i].mean()), rows)
    assert interval is not None
    value, error = (first - second).mean(), (first - second).std(ddof=1) / rows**0.5
    assert interval.value == pytest.approx(value)
    assert interval.low == pytest.approx(value - 1.96 * error, abs=0.35 * error)
    assert interval.high == pytest.approx(value + 1.96 * error, abs=0.35 * error)


def test_a_score_that_is_not_defined_for_some_draws() -> None:
    values = np.arange(40.0)
    some = resampled_difference(lambda i: float(values[i].mean()) if i[0] % 3 else None, 40)
    assert some is None  # not for all rows, whose first is 0
    some = resampled_difference(lambda i: None if i[0] % 3 == 1 else float(values[i].mean()), 40)
    assert some is not None
    assert some.low < values.mean() < some.high
    assert resampled_difference(lambda i: 0.0 if len(set(i.tolist())) == 40 else float("nan"), 40) is None
