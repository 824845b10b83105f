"""The power law of learning curves, against laws that are known and against SciPy's least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from lmkit.analysis.power_law import PowerLaw, fit
from lmkit.exceptions import DataError

ROWS = np.array([34.0, 67, 135, 270, 539, 1078])


@pytest.mark.parametrize(("a", "b", "c"), [(2.0, 0.5, 0.05), (1.0, 0.3, 0.0), (0.0, 0.7, 0.2), (5.0, 1.0, 0.01)])
def test_a_law_without_noise_is_extrapolated_exactly(a: float, b: float, c: float) -> None:
    def error(rows: Any) -> Any:
        return a * rows**-b + c

    law = PowerLaw(ROWS, np.stack([error(ROWS)] * 3, axis=1))
    for factor in (1, 2, 4):
        assert law(factor * ROWS[-1]) == pytest.approx(error(factor * ROWS[-1]), abs=5e-4)
    assert law.limit == pytest.approx(c, abs=3e-3)


def test_no_other_parameters_fit_better() -> None:
    draw = np.random.default_rng(3)
    errors = 2 * ROWS**-0.5 + 0.05 + draw.normal(0, 0.01, len(ROWS))
    weights = np.linspace(1, 3, len(ROWS))
    a, b, c = fit(ROWS / ROWS[-1], errors[None], weights)[0]

    def residuals(parameters: np.ndarray) -> np.ndarray:
        amplitude, exponent, limit = parameters
        return np.sqrt(weights) * (amplitude * (ROWS / ROWS[-1]) ** -exponent + limit - errors)

    best = least_squares(residuals, [0.1, 0.5, 0.1], bounds=([0, 0.02, 0], [np.inf, 2, np.inf]))
    assert (residuals(np.array([a, b, c])) ** 2).sum() == pytest.approx(2 * best.cost, rel=0.01)


def test_errors_that_rise_with_rows_have_no_gain() -> None:
    law = PowerLaw(ROWS, np.linspace(0.1, 0.2, 6)[:, None] + np.zeros((6, 3)))
    assert law(4 * ROWS[-1]) == pytest.approx(law(ROWS[-1]))
    assert law.exponent == 0


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="3 numbers of rows with a score, expected at least 4"):
        PowerLaw(ROWS[:3], np.ones((3, 2)))
