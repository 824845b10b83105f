"""Confident learning against counts made by hand, by the definitions of Northcutt et al. (2021)."""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.analysis.label_issues import confident_joint, find_label_issues

OF_ZERO = np.array([0.9, 0.7, 0.2, 0.5, 0.1, 0.3, 0.8])
PROBABILITIES = np.stack([OF_ZERO, 1 - OF_ZERO], axis=1)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1])


def test_the_joint_by_hand() -> None:
    # thresholds: (0.9 + 0.7 + 0.2 + 0.5) / 4 = 0.575 of class 0, (0.9 + 0.7 + 0.2) / 3 = 0.6 of class 1;
    # row 3 reaches neither; row 2 is confidently 1, and row 6 is confidently 0
    counts, confident = confident_joint(PROBABILITIES, LABELS)
    assert confident.tolist() == [0, 0, 1, -1, 1, 1, 0]
    assert counts.tolist() == [[2, 1], [1, 2]]


def test_rows_by_their_margin_and_a_joint_that_sums_to_the_labels() -> None:
    issues = find_label_issues(PROBABILITIES, LABELS)
    assert issues.rows.tolist() == [2, 6]
    assert issues.suggested.tolist() == [1, 0]
    assert issues.joint == pytest.approx(np.array([[8 / 3, 4 / 3], [1, 2]]))


def test_the_most_probable_of_several_confident_classes() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.35, 0.55], [0.2, 0.3, 0.5], [0.2, 0.42, 0.38]])
    # thresholds: 0.5, 0.3, (0.55 + 0.5 + 0.38) / 3 of the labels 0, none of 1, and 2
    counts, confident = confident_joint(shares, np.array([0, 2, 2, 2]))
    assert confident.tolist() == [0, 2, 2, -1], "no row is labelled 1, so that none is confidently of it"
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 2]]


def test_a_sure_model_that_agrees_with_all_labels_suspects_none() -> None:
    labels = np.arange(30) % 3
    shares = np.where(labels[:, None] == np.arange(3), 0.98, 0.01)
    assert not len(find_label_issues(shares, labels).rows)
