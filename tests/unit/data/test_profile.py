"""What a profile looks at: all targets, and no more of the rows than fits into memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lmkit.data.batches import Part
from lmkit.data.profile import profile_data, sample
from lmkit.preprocessing.table import TablePreprocessing


def test_of_long_rows_a_few_are_looked_at_evenly_spaced() -> None:
    rows, features = 3_000, 100_000
    part = sample(Part(np.broadcast_to(np.zeros((), np.float32), (rows, features)), np.arange(rows)))
    assert part.X.shape == (100, features)
    assert (part.y[0], part.y[-1]) == (0, rows - 1)


def test_classes_are_counted_in_all_rows_however_long_they_are() -> None:
    rows, features = 1_000, 50_000
    y = np.repeat(np.arange(3), [900, 90, 10])
    X = np.broadcast_to(np.zeros((), np.float32), (rows, features))
    empty = Part(X[:0], y[:0])
    preprocessing = TablePreprocessing(
        "multiclass", {}, {}, [], [0, 1, 2], ["0", "1", "2"], {"shift": 0.0, "scale": 1.0}, (features,)
    )
    data: Any = SimpleNamespace(
        training=Part(X, y), validation=empty, test=empty, part_rows={"training": rows}, preprocessing=preprocessing
    )
    profile = profile_data(data, "categorical_crossentropy")
    assert profile.class_shares == pytest.approx((0.9, 0.09, 0.01))
    assert profile.chance_loss == pytest.approx(-(0.9 * np.log(0.9) + 0.09 * np.log(0.09) + 0.01 * np.log(0.01)))
