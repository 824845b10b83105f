"""Tests that settle by arithmetic what thresholds cannot, over any framework's function of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Predict = Callable[[Any], np.ndarray]
"""Rows (rows, …) → outputs (rows, …)."""

Join = Callable[[list[Any]], Any]
"""Concatenates groups of rows."""

SCALE = 3.0
"""By which rows are multiplied before a bend is looked for: near 0 a tanh is nearly linear."""


def mixing_of(predict: Predict, a: Any, b: Any, c: Any, join: Join) -> float | None:
    """Return the largest change of the outputs of rows ``a`` when other rows are computed with them, relative.

    None where the outputs do not differ between rows.
    """
    first, second = (predict(join([a, other, other]))[: len(a)].astype(np.float64) for other in (b, c))
    scale = max(np.abs(first - first.mean(0)).max(), np.abs(first).max() * 1e-6)
    return float(np.abs(second - first).max() / scale) if scale > 0 and np.isfinite(scale) else None


def curvature_of(predict: Predict, u: Any, v: Any, join: Join) -> float | None:
    """Return max |f(u) + f(v) − f(u+v) − f(0)|, relative to how much f differs between rows.

    It is 0, up to rounding, exactly for functions that are linear but for a constant. None for a constant function.
    """
    u, v = u * SCALE, v * SCALE
    n = len(u)
    outputs = predict(join([u, v, u + v, u * 0])).astype(np.float64)
    f_u, f_v, f_sum, f_zero = (outputs[i * n : (i + 1) * n] for i in range(4))
    scale = np.abs(f_u - f_zero).max()
    if not np.isfinite(outputs).all() or scale <= 1e-6 * np.abs(f_zero).max() or scale == 0:
        return None
    return float(np.abs(f_u + f_v - f_sum - f_zero).max() / scale)
