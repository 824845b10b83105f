"""The learning rate's factors, by hand."""

import math

import numpy as np
import pytest

from lmkit.specs.schedules import Constant, Cosine, Step

PER_EPOCH, TOTAL = 4, 40


def factors(schedule, steps=range(TOTAL)):
    return schedule.factors(np.array(steps), PER_EPOCH, TOTAL)


def test_constant():
    assert factors(Constant()).tolist() == [1.0] * TOTAL


def test_step_multiplies_every_so_many_epochs():
    by_hand, factor = [], 1.0
    for step in range(TOTAL):
        if step and step % (3 * PER_EPOCH) == 0:
            factor *= 0.1
        by_hand.append(factor)
    assert factors(Step(every=3, factor=0.1)) == pytest.approx(by_hand, rel=1e-12)


def test_cosine_rises_over_the_warm_up_and_falls_along_half_a_cosine():
    by_hand = []
    for step in range(TOTAL):
        if step < 8:
            by_hand.append((step + 1) / 8)
        else:
            by_hand.append(0.1 + 0.9 * (1 + math.cos(math.pi * (step - 8) / (TOTAL - 8))) / 2)
    assert factors(Cosine(warmup=8, floor=0.1)) == pytest.approx(by_hand, rel=1e-12)


def test_cosine_at_its_ends():
    told = factors(Cosine(warmup=8, floor=0.1), [0, 7, 8, 24, 40, 100])
    assert told == pytest.approx([1 / 8, 1, 1, 0.55, 0.1, 0.1])


def test_cosine_without_warm_up_starts_at_the_whole_rate():
    assert factors(Cosine(), [0, 20, 40]) == pytest.approx([1, 0.5, 0], abs=1e-15)


@pytest.mark.parametrize("schedule", [Constant(), Step(every=2), Cosine(warmup=5)])
def test_a_step_has_the_same_factor_however_training_is_cut(schedule):
    pieces = [factors(schedule, range(a, b)) for a, b in ((0, 1), (1, 17), (17, TOTAL))]
    assert np.concatenate(pieces).tolist() == factors(schedule).tolist()
