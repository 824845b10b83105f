"""Rows that are in memory at once are limited by their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.data.batches import Part
from lmkit.explanations import model
from lmkit.explanations.methods import neighbours
from lmkit.explanations.model import take_rows


def test_of_wide_rows_fewer_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(np.arange(40.0).reshape(10, 4), np.arange(10))
    assert len(take_rows(part, 6).X) == 6
    monkeypatch.setattr(model, "MAX_NUMBERS", 12)
    taken = take_rows(part, 6)
    assert taken.y.tolist() == [0, 4, 9]
    assert taken.X.tolist() == part.X[[0, 4, 9]].tolist()


def test_distances_do_not_depend_on_the_size_of_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    monkeypatch.setattr(neighbours, "PIECE_NUMBERS", 12)
    expected = np.linalg.norm(rows.astype(np.float64) - rows[3], axis=1)
    assert neighbours.measure_distances(rows, rows[3]) == pytest.approx(expected)
