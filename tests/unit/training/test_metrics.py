"""What a model scores, against scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from lmkit.preprocessing.table import TablePreprocessing
from lmkit.specs.metrics import area_under_roc
from lmkit.training.metrics import part_metrics

draw = np.random.default_rng(3)


def preprocessing(task, classes=(), shift=0.0, scale=1.0):
    return TablePreprocessing(
        task, {}, {}, [], list(classes), [str(c) for c in classes], {"shift": shift, "scale": scale}
    )


def test_two_classes():
    logits, y = draw.normal(size=(200, 1)), draw.integers(0, 2, (200, 1)).astype(float)
    logits[:50] = logits[50:100]  # ties
    found = part_metrics("binary_crossentropy", logits, y, preprocessing("binary", [0, 1]))
    assert found == pytest.approx(
        {
            "loss": log_loss(y, expit(logits)),
            "accuracy": accuracy_score(y, expit(logits) > 0.5),
            "auc": roc_auc_score(y, logits),
        }
    )


def test_more_classes():
    logits, y = draw.normal(size=(200, 4)), draw.integers(0, 4, 200)
    found = part_metrics("categorical_crossentropy", logits, y, preprocessing("multiclass", range(4)))
    shares = softmax(logits, axis=1)
    assert found == pytest.approx(
        {
            "loss": log_loss(y, shares),
            "accuracy": accuracy_score(y, logits.argmax(axis=1)),
            "auc": roc_auc_score(y, shares, multi_class="ovr"),
        }
    )


def test_numbers_are_in_the_targets_own_unit():
    y, guess = draw.normal(size=(200, 1)), draw.normal(size=(200, 1))
    found = part_metrics("mean_squared_error", guess, y, preprocessing("regression", shift=150.0, scale=77.0))
    truth, prediction = (v[:, 0] * 77 + 150 for v in (y, guess))
    assert found == pytest.approx(
        {
            "loss": np.mean((y - guess) ** 2),
            "mae": mean_absolute_error(truth, prediction),
            "r2": r2_score(truth, prediction),
        }
    )


def test_the_loss_can_be_left_out():
    found = part_metrics(
        "binary_crossentropy",
        np.ones((2, 1)),
        np.array([[0.0], [1.0]]),
        preprocessing("binary", [0, 1]),
        skip_loss=True,
    )
    assert found == {"accuracy": 0.5, "auc": 0.5}


def test_what_cannot_be_told_is_left_out():
    one_class = part_metrics(
        "binary_crossentropy", np.array([[1.0], [-1.0]]), np.ones((2, 1)), preprocessing("binary", [0, 1])
    )
    assert set(one_class) == {"loss", "accuracy"}
    absent = part_metrics(
        "categorical_crossentropy", np.eye(3)[:2], np.array([0, 1]), preprocessing("multiclass", range(3))
    )
    assert set(absent) == {"loss", "accuracy"}
    constant = part_metrics("mean_squared_error", np.zeros((3, 1)), np.ones((3, 1)), preprocessing("regression"))
    assert set(constant) == {"loss", "mae"}


@pytest.mark.parametrize(("scores", "area"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([1, 1, 1, 1], 0.5)])
def test_the_area_at_its_ends(scores, area):
    truth = np.array([[False], [False], [True], [True]])
    assert area_under_roc(np.array(scores, dtype=float)[:, None], truth) == area


def test_the_auc_takes_negative_scores_ties_and_both_zeros() -> None:
    truth = draw.integers(0, 2, (300, 3)).astype(bool)
    scores = draw.normal(size=(300, 3))
    scores[:, 1] = scores[:, 1].round(1)
    scores[:, 2] = np.where(draw.random(300) < 0.5, -0.0, 0.0)
    expected = [roc_auc_score(t, s) for t, s in zip(truth.T, scores.T, strict=True)]
    assert expected[2] == 0.5
    assert area_under_roc(scores, truth) == pytest.approx(np.mean(expected), rel=1e-12)
    assert area_under_roc(-1e300 * scores[:, :2], truth[:, :2]) == pytest.approx(1 - np.mean(expected[:2]), rel=1e-12)
