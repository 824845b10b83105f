"""Custom metrics get what they take: classes, probabilities or logits; against scikit-learn called by hand."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as M

from lmkit.custom.metrics import compute_metric, metric_input
from lmkit.exceptions import ConfigError
from lmkit.preprocessing.table import TablePreprocessing

draw = np.random.default_rng(4)
Z = draw.normal(size=(120, 1)) * 2
BINARY = (Z[:, 0] + draw.normal(size=120) > 0).astype(int)
P = 1 / (1 + np.exp(-Z[:, 0]))
Z3 = draw.normal(size=(120, 3))
THREE = (Z3 + draw.normal(size=(120, 3))).argmax(axis=1)
P3 = np.exp(Z3) / np.exp(Z3).sum(axis=1, keepdims=True)


def table(task: str, classes: list[Any], kind: Any = "logits") -> TablePreprocessing:
    labels = [str(c) for c in classes]
    return TablePreprocessing(task, {}, {}, [], classes, labels, {"shift": 1.0, "scale": 2.0}, output_kind=kind)


def binary(metric: Any, classes: list[Any], outputs: np.ndarray = Z, kind: Any = "logits") -> float:
    return compute_metric("metric", metric, BINARY[:, None].astype(float), outputs, table("binary", classes, kind))


@pytest.mark.parametrize("classes", [[0, 1], [1, 2], ["no", "yes"], [False, True]])
def test_scores_of_two_classes(classes: list[Any]) -> None:
    for metric, expected in (
        (M.roc_auc_score, M.roc_auc_score(BINARY, P)),
        (M.average_precision_score, M.average_precision_score(BINARY, P)),
        (M.log_loss, M.log_loss(BINARY, P)),
        (M.brier_score_loss, M.brier_score_loss(BINARY, P)),
        (functools.partial(M.roc_auc_score, max_fpr=0.5), M.roc_auc_score(BINARY, P, max_fpr=0.5)),
    ):
        assert binary(metric, classes) == pytest.approx(expected), metric
        assert binary(metric, classes, P[:, None], "probabilities") == pytest.approx(expected), metric
    assert binary(M.accuracy_score, classes) == pytest.approx(np.mean((P > 0.5) == BINARY))


def test_words_as_classes_of_an_f1() -> None:
    expected = M.f1_score(BINARY, P > 0.5)
    assert binary(M.f1_score, ["no", "yes"]) == pytest.approx(expected)
    assert binary(M.f1_score, [0, 1]) == pytest.approx(expected)
    macro = functools.partial(M.f1_score, average="macro")
    assert binary(macro, ["no", "yes"]) == pytest.approx(M.f1_score(BINARY, P > 0.5, average="macro"))
    chosen = functools.partial(M.f1_score, pos_label="no")
    assert binary(chosen, ["no", "yes"]) == pytest.approx(M.f1_score(BINARY, P > 0.5, pos_label=0))


@pytest.mark.parametrize("classes", [[0, 1, 2], ["a", "b", "c"]])
def test_scores_of_more_classes(classes: list[Any]) -> None:
    for metric, expected in (
        (M.roc_auc_score, M.roc_auc_score(THREE, P3, multi_class="ovr")),
        (M.average_precision_score, M.average_precision_score(THREE, P3)),
        (M.log_loss, M.log_loss(THREE, P3)),
        (functools.partial(M.top_k_accuracy_score, k=2), M.top_k_accuracy_score(THREE, P3, k=2)),
    ):
        value = compute_metric("metric", metric, THREE, Z3, table("multiclass", classes))
        assert value == pytest.approx(expected), metric


def test_a_part_without_one_of_the_classes() -> None:
    rows = THREE != 2
    value = compute_metric("log_loss", M.log_loss, THREE[rows], Z3[rows], table("multiclass", [0, 1, 2]))
    assert value == pytest.approx(M.log_loss(THREE[rows], P3[rows], labels=[0, 1, 2]))


def test_an_output_for_each_of_two_classes() -> None:
    outputs = np.hstack([np.zeros((120, 1)), Z])
    value = compute_metric("auc", M.roc_auc_score, BINARY, outputs, table("multiclass", [0, 1]))
    assert value == pytest.approx(M.roc_auc_score(BINARY, P))


def wrapped(y_true: Any, y_pred: Any) -> float:
    return M.roc_auc_score(y_true, y_pred)


def by_attribute(truth: Any, guess: Any) -> float:
    return float(np.mean((truth - guess) ** 2))


by_attribute.takes = "probabilities"  # type: ignore[attr-defined]


def of_logits(y_true: Any, logits: Any) -> float:
    return float(np.max(logits))


def reversed_order(y_pred: Any, y_true: Any) -> float:
    return float(np.mean(y_pred == 1) - 10 * np.mean(y_true == 1))


def test_how_a_function_of_ones_own_says_what_it_takes() -> None:
    assert binary(wrapped, [0, 1]) == pytest.approx(M.roc_auc_score(BINARY, P))
    assert binary(lambda a, b: M.roc_auc_score(a, b), [0, 1]) == pytest.approx(M.roc_auc_score(BINARY, P))
    assert binary(by_attribute, [0, 1]) == pytest.approx(np.mean((BINARY - P) ** 2))
    assert binary(of_logits, [0, 1]) == pytest.approx(Z.max())
    assert binary(reversed_order, [0, 1]) == pytest.approx(np.mean(P > 0.5) - 10 * np.mean(BINARY))
    assert metric_input(M.balanced_accuracy_score) == metric_input(lambda y_true, y_pred: 0.0) == "classes"


def test_a_number_has_no_scores() -> None:
    z = draw.normal(size=(50, 1))
    value = compute_metric("mae", M.mean_absolute_error, z + 1, z, table("regression", []))
    assert value == pytest.approx(2.0)  # the target's scale


def test_what_was_given_is_said_of_a_metric_that_raises() -> None:
    def broken(y_true: Any, y_pred: Any) -> float:
        raise ValueError("no")

    with pytest.raises(ConfigError, match=r"broken raised ValueError: no .*; expected a number. It was given targets"):
        compute_metric("broken", broken, BINARY[:, None], Z, table("binary", [0, 1]))
    broken.takes = "scores"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="takes of broken is 'scores'"):
        compute_metric("broken", broken, BINARY[:, None], Z, table("binary", [0, 1]))
