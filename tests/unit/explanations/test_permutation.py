"""What the score of permutation importance is where it is undefined."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lmkit.explanations.methods.permutation import row_losses


@pytest.mark.filterwarnings("error")
def test_a_target_that_does_not_vary_has_no_r2() -> None:
    explained: Any = SimpleNamespace(
        answers=lambda X: X[:, :1],
        task=SimpleNamespace(numeric=True),
        preprocessing=SimpleNamespace(restore=lambda y: y[:, 0]),
    )
    X = np.array([[1.0], [3.0]])
    losses, scores = row_losses(explained, X, np.full((2, 1), 2.0))
    assert losses.tolist() == [1.0, 1.0]
    assert np.isnan(scores).all()
    assert row_losses(explained, X, np.array([[1.0], [2.0]]))[1].tolist() == [0.0, 4.0]
