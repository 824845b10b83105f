"""Slices against SciPy's exact tests and planted faults."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from lmkit.analysis.slices import find_residual_slices, find_slices, holm


def table(draw: np.random.Generator, rows: int = 600) -> pd.DataFrame:
    columns = {f"x{i}": draw.normal(size=rows) for i in range(3)}
    columns["town"] = draw.choice(["Bern", "Genf", "Uri"], rows, p=[0.6, 0.3, 0.1])
    columns["level"] = draw.integers(1, 5, rows).astype(float)
    return pd.DataFrame(columns)


def test_a_planted_slice_comes_first_with_the_p_of_fishers_test() -> None:
    draw = np.random.default_rng(0)
    frame = table(draw)
    wrong = draw.random(600) < np.where(frame["town"] == "Uri", 0.4, 0.1)
    first, *others = find_slices(frame, wrong)
    assert (first.name, first.stands_out) == ("town = 'Uri'", True)
    inside = (frame["town"] == "Uri").to_numpy()
    assert (first.rows, first.errors) == (inside.sum(), wrong[inside].sum())
    counts = [[wrong[mask].sum(), (~wrong[mask]).sum()] for mask in (inside, ~inside)]
    assert first.p == pytest.approx(fisher_exact(counts, alternative="greater").pvalue)
    assert not any(s.stands_out for s in others)


def test_missing_values_and_ranges_are_slices() -> None:
    frame = pd.DataFrame({"age": np.r_[np.full(40, np.nan), np.linspace(20, 80, 160)]})
    wrong = np.zeros(200, dtype=bool)
    wrong[:30] = True
    names = [s.name for s in find_slices(frame, wrong)]
    assert names[0] == "age is missing"
    assert set(names[1:]) == {f"age from {a} to {b}" for a, b in ((20, 35), (35, 50), (50, 65), (65, 80))}
    assert sum(s.rows for s in find_slices(frame, wrong)) == 200, "each row once"


def test_a_shifted_range_of_numbers_stands_out_with_its_sign() -> None:
    draw = np.random.default_rng(1)
    frame = table(draw)
    residuals = draw.normal(size=600) - 1.5 * (frame["level"] == 2)
    first = find_residual_slices(frame, residuals)[0]
    assert (first.name, first.stands_out) == ("level = 2", True)
    assert first.residual == pytest.approx(residuals[frame["level"] == 2].mean())
    assert first.rate == pytest.approx(np.abs(residuals[frame["level"] == 2]).mean())


def test_larger_errors_without_a_shift_stand_out_too() -> None:
    draw = np.random.default_rng(2)
    frame = table(draw)
    residuals = draw.normal(size=600) * np.where(frame["town"] == "Genf", 3, 1)
    assert find_residual_slices(frame, residuals)[0].name == "town = 'Genf'"


def test_nothing_to_test() -> None:
    frame = pd.DataFrame({"a": [1.0] * 30, "b": ["x"] * 30})
    assert find_slices(frame, np.arange(30) < 5) == []
    assert find_slices(table(np.random.default_rng(0), 8), np.ones(8, dtype=bool)) == [], "each is too small"
    assert find_residual_slices(table(np.random.default_rng(0), 60), np.zeros(60)) == []


def test_holm_is_monotone_and_at_most_one() -> None:
    corrected = holm(np.array([0.2, 0.001, 0.04, 0.9]))
    assert corrected.tolist() == pytest.approx([0.4, 0.004, 0.12, 0.9])
