"""The losses of a slice: each is computed once, the coarse grid first, and an interrupt loses none."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from lmkit.surfaces.slice import Slice


def a_slice() -> Slice:
    plane = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    return Slice(plane_text="", end=np.array([0.0, 0.0, 5.0]), plane=plane, window=((-1, 1), (-2, 2)), start=(0.0, 0.0))


def loss(weights: np.ndarray) -> float:
    return float(weights @ [1.0, 10.0, 100.0])


def test_losses_are_those_of_the_points_of_the_grid() -> None:
    losses, note = a_slice().compute(11, loss, lambda _: None)
    x, y = np.meshgrid(np.linspace(-1, 1, 11), np.linspace(-2, 2, 11))
    np.testing.assert_allclose(losses, x + 20 * y + 500, rtol=1e-14)
    assert note == ""


def test_an_interrupt_keeps_what_was_computed_and_the_next_call_goes_on() -> None:
    current, weights = a_slice(), list[np.ndarray]()

    def interrupted(vector: np.ndarray) -> float:
        if len(weights) == 50:
            raise KeyboardInterrupt
        weights.append(vector)
        return loss(vector)

    losses, note = current.compute(21, interrupted, lambda _: None)
    assert losses.shape == (6, 6)
    assert note == "interrupted: 6 × 6 points; the same call goes on"
    assert len(current.losses) == 50
    calls = count()
    whole, note = current.compute(11, lambda vector: next(calls) * 0 + loss(vector), lambda _: None)
    assert next(calls) == 121 - 50
    np.testing.assert_array_equal(whole, a_slice().compute(11, loss, lambda _: None)[0])
    assert note == ""


def test_before_the_coarse_grid_an_interrupt_is_one() -> None:
    current = a_slice()

    def stop(text: str) -> None:
        if "7 of 36" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        current.compute(6, loss, stop)
    assert len(current.losses) == 7


def test_progress_has_a_rate_and_the_time_that_is_left() -> None:
    texts: list[str] = []
    seconds = count()
    a_slice().compute(6, loss, texts.append, lambda: float(next(seconds)))
    assert texts[0] == "░░░░░░░░░░ 0 of 36 losses"
    assert texts[18] == "█████░░░░░ 18 of 36 losses, 0.947 per second, 19 s left"
