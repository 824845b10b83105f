"""Intervals, and what a process that is measured answers."""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.deploy.measure import Interval, Latency, noise
from lmkit.deploy.timing import bootstrap


def test_the_interval_of_a_median_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = [
        interval.low <= 0 <= interval.high
        for interval in (bootstrap(draw.normal(size=25), seed=i, draws=400) for i in range(300))
    ]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_it_follows_the_seed() -> None:
    values = np.random.default_rng(1).lognormal(size=15)
    assert bootstrap(values, 3) == bootstrap(values, 3)
    assert bootstrap(values, 3).value == np.median(values)


@pytest.mark.parametrize(
    ("ratio", "control", "differs"),
    [
        ((0.5, 0.45, 0.55), (1.0, 0.95, 1.05), True),
        ((1.4, 1.3, 1.5), (1.0, 0.95, 1.05), True),
        ((0.98, 0.93, 1.01), (1.0, 0.97, 1.02), False),
        ((0.8, 0.7, 0.9), (0.9, 0.85, 1.3), False),  # the machine itself wavers as much
        ((1.02, 0.99, 1.3), (0.9, 0.85, 0.95), False),
    ],
)
def test_a_difference_within_the_control_is_none(
    ratio: tuple[float, float, float], control: tuple[float, float, float], differs: bool
) -> None:
    one = Latency(1, Interval(1e-3, 1e-3, 1e-3), None, Interval(*ratio), Interval(*control), 10)
    assert one.differs(noise([one])) is differs
