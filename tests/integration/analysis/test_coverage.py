"""The intervals of learning curves hold the truth as often as they say, for laws with noise that is known."""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.analysis.power_law import PowerLaw

ROWS = np.array([34.0, 67, 135, 270, 539, 1078])
CURVES = 40


@pytest.mark.parametrize(
    ("a", "b", "c", "level", "noise"),
    [(2, 0.5, 0.05, 0.01, 0.008), (1, 0.3, 0.0, 0.01, 0.005), (0, 0.5, 0.1, 0.02, 0.01)],
)
def test_the_interval_holds_the_truth(a: float, b: float, c: float, level: float, noise: float) -> None:
    draw = np.random.default_rng(7)
    inside = {2.0: 0, 4.0: 0}
    for _ in range(CURVES):
        levels = draw.normal(0, level, 3)
        deviations = draw.normal(0, noise, (6, 3)) * (ROWS[:, None] / ROWS[-1]) ** -0.3
        law = PowerLaw(ROWS, (a * ROWS**-b + c)[:, None] + levels + deviations)
        for factor in inside:
            low, high = law.interval(factor * ROWS[-1])
            inside[factor] += low <= a * (factor * ROWS[-1]) ** -b + c + levels.mean() <= high
    assert min(inside.values()) >= 0.85 * CURVES, "95 % are meant; 40 curves vary by 4 % on either side"
