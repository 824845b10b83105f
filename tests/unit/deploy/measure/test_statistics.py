"""When a latency differs from another."""

from __future__ import annotations

import pytest

from lmkit.deploy.measure.statistics import Interval, Latency, noise


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
