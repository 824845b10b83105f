"""What the advice says of a slice is true of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from lmkit.analysis.errors import Errors
from lmkit.analysis.evaluation import EvaluatedRows


def test_a_slice_with_shifted_but_smaller_errors_is_not_said_to_need_rows() -> None:
    draw = np.random.default_rng(0)
    town = np.repeat(["Bern", "Genf", "Uri"], 100)
    residuals = np.where(town == "Uri", 0.4 + 0.1 * draw.normal(size=300), draw.normal(size=300))
    features = pd.DataFrame({"town": town})
    run: Any = SimpleNamespace(name="run", preprocessing=SimpleNamespace(task="regression"))
    zeros, rows = np.zeros(300), np.arange(300)
    part = np.repeat(["test"], 300)
    result = Errors(
        EvaluatedRows(run, ("test",), part, rows, zeros, residuals, abs(residuals), None, None, features, features)
    )
    assert next(s for s in result.slices if s.stands_out).rate < abs(residuals).mean()
    assert ", unusual where town = 'Uri': 0.3" in result.advice
    assert "too high on average" in result.advice
    assert result.advice.endswith("a column that tells these rows apart would help")
