"""The task that a target suggests, whatever the source of the data."""

import numpy as np
import pytest

from lmkit.specs.inference import Target

draw = np.random.default_rng(4)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (draw.integers(66, 101, 27_178), "regression"),  # scores of restaurants
        (draw.poisson(3, 20_190), "multiclass"),
        (np.append(draw.poisson(3, 20_190), range(60)), "regression"),  # visits, a few people very often
        (draw.integers(18, 91, 20_000), "regression"),  # ages
        (draw.integers(1, 30, 4_000), "regression"),  # rings
        (np.repeat(np.arange(15), 2), "regression"),  # fifteen values of two rows
        (np.repeat(np.arange(10), 4), "multiclass"),  # digits of a small set
        (draw.integers(3, 9, 1_600), "multiclass"),  # marks
        (draw.integers(3, 9, 1_600).astype(float), "multiclass"),
        (draw.normal(size=50), "regression"),
        (np.array([0.5, 1.5] * 10), "regression"),
        (np.array([0.0, 1.0] * 10), "binary"),
        (np.array([-1, 1] * 10), "binary"),
        (np.array([True, False] * 10), "binary"),
        (np.array(["a", "b", "c"] * 10), "multiclass"),
        (np.array(["a", "b"] * 10, dtype=object), "binary"),
        (np.array([1, 2, 2.5] * 10, dtype=object), "regression"),
    ],
)
def test_a_target_suggests_its_task(y, task):
    assert Target.of(y).infer_task() == task


def test_numbered_labels_of_images_are_classes_however_many():
    labels = np.arange(100).repeat(3)
    assert Target.of(labels, labels=True).infer_task() == "multiclass"
    assert Target.of(labels).infer_task() == "regression"
    assert Target.of(labels + 18, labels=True).infer_task() == "regression"


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (
            list(range(66, 101)) * 9,
            "'t' has 35 different whole numbers from 66 to 100: regression; for classes use data: {task: multiclass}",
        ),
        (
            [1, 2, 3] * 9,
            "'t' has 3 different whole numbers from 1 to 3: classification into 3 classes; for a number use "
            "data: {task: regression}",
        ),
        ([0, 1] * 9, "'t' has 2 different whole numbers from 0 to 1: binary classification"),
        ([0.5, 2.25] * 9, "'t' has 2 different numbers with fractions from 0.5 to 2.25: regression"),
        (["a", "b"] * 9, "'t' has 2 different texts: binary classification"),
        ([True, False] * 9, "'t' has 2 different truth values: binary classification"),
    ],
)
def test_what_was_inferred_is_a_sentence(y, text):
    target = Target.of(y)
    assert target.describe("t", target.infer_task()) == text
