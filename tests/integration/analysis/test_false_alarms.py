"""In data without any bad slice, one stands out in hardly any of the data sets: in 1 % of them, by the level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmkit.analysis.slices import Slice, find_residual_slices, find_slices


def wrong(draw: np.random.Generator) -> Any:
    return draw.random(400) < 0.15


def residuals(draw: np.random.Generator) -> Any:
    return draw.standard_t(4, 400)


@pytest.mark.parametrize(("find", "errors", "sets"), [(find_slices, wrong, 100), (find_residual_slices, residuals, 40)])
def test_false_alarms(
    find: Callable[[pd.DataFrame, Any], list[Slice]], errors: Callable[[np.random.Generator], Any], sets: int
) -> None:
    alarms = 0
    for seed in range(sets):
        draw = np.random.default_rng(seed)
        frame = pd.DataFrame(draw.normal(size=(400, 4))).rename(columns=str)
        frame["town"] = draw.choice(["a", "b", "c", "d"], 400)
        frame["level"] = draw.integers(0, 3, 400)
        alarms += any(s.stands_out for s in find(frame, errors(draw)))
    assert alarms <= 0.05 * sets
