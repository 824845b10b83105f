"""Integrated gradients are those of closed forms, complete, and computed a piece at a time."""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.explanations.integrated_gradients import POINTS, integrated_gradients
from lmkit.explanations.intervals import mean_interval

draw = np.random.default_rng(0)


def polynomial(rows: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f = x₁ x₂²."""
    return x[:, 0] * x[:, 1] ** 2, np.stack([x[:, 1] ** 2, 2 * x[:, 0] * x[:, 1]], axis=1)


def test_a_polynomial_has_its_closed_form() -> None:
    x = draw.normal(size=(5, 2))
    result = integrated_gradients(polynomial, x, np.zeros((1, 2)))
    exact = x[:, 0] * x[:, 1] ** 2  # ∫t²dt = 1/3 of it for the first factor, 2/3 for the second
    np.testing.assert_allclose(result.values, np.stack([exact / 3, 2 * exact / 3], axis=1), rtol=1e-12)
    np.testing.assert_allclose(result.ends - result.starts, exact, rtol=1e-12)
    assert result.points.tolist() == [POINTS] * 5
    assert result.remainders.max() < 1e-12


def test_a_linear_function_gives_its_weights_times_the_difference() -> None:
    weights, x, start = draw.normal(size=3), draw.normal(size=(4, 3)), draw.normal(size=(1, 3))
    result = integrated_gradients(lambda _, v: (v @ weights, np.tile(weights, (len(v), 1))), x, start)
    np.testing.assert_allclose(result.values, weights * (x - start), rtol=1e-12)


def kinked(rows: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A relu whose bend lies at 0.93 of the way from 0 to 1."""
    return np.maximum(x[:, 0] - 0.93, 0), (x > 0.93).astype(float)


def test_points_are_doubled_until_the_remainder_is_below_one_percent() -> None:
    steep, smooth = np.array([[1.0]]), np.array([[9.0]])
    result = integrated_gradients(kinked, np.concatenate([steep, smooth]), np.zeros((1, 1)))
    assert result.remainders.max() < 0.01
    assert result.points[0] > POINTS
    assert result.points[0] > result.points[1]  # only the rows that need more get more


def test_the_remainder_is_returned_where_the_points_do_not_suffice() -> None:
    result = integrated_gradients(kinked, np.array([[1.0]]), np.zeros((1, 1)), max_points=16)
    missing = abs(result.values.sum() - (result.ends - result.starts)[0])
    assert result.points.tolist() == [16]
    assert result.remainders[0] == pytest.approx(missing / 0.07)
    assert result.remainders[0] > 0.01


@pytest.mark.parametrize("piece", [1, 7, 16, 40])
def test_no_more_than_a_piece_is_computed_at_once(piece: int) -> None:
    sizes: list[int] = []

    def recorded(rows: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert len(rows) == len(x)
        sizes.append(len(x))
        return polynomial(rows, x)

    x = draw.normal(size=(9, 2))
    result = integrated_gradients(recorded, x, np.zeros((1, 2)), piece=piece)
    assert max(sizes) <= piece
    np.testing.assert_allclose(result.values, integrated_gradients(polynomial, x, np.zeros((1, 2))).values, atol=1e-12)


def test_rows_keep_their_indices() -> None:
    scale = np.array([1.0, 10.0, 100.0])
    result = integrated_gradients(
        lambda rows, x: (scale[rows] * x[:, 0], scale[rows][:, None]), np.ones((3, 1)), np.zeros((1, 1)), piece=20
    )
    assert result.values[:, 0] == pytest.approx(scale)


def test_a_row_that_is_the_baseline_has_no_attribution() -> None:
    result = integrated_gradients(polynomial, np.ones((1, 2)), np.ones((1, 2)))
    assert result.values.tolist() == [[0.0, 0.0]]
    assert result.remainders.tolist() == [0.0]


def test_an_interval_is_students() -> None:
    from scipy import stats

    values = draw.normal(size=12)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert mean_interval(values) == pytest.approx((values.mean(), low, high))
    assert mean_interval(values[:1]) == (values[0], values[0], values[0])
