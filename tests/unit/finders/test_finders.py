"""What a range test and trials of micro-batches tell, from written curves."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.exceptions import ConfigError, DataError
from lmkit.finders import trial
from lmkit.finders.learning_rate import find_learning_rate, read_curve, smooth
from lmkit.finders.micro_batch import Trial, find_micro_batch, list_sizes, read_trials
from lmkit.finders.trial import is_out_of_memory


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = np.geomspace(1e-6, 10, 120)
    position = np.log10(rates)
    losses = 2.0 - 1 / (1 + np.exp(-4 * (position + 3))) + np.exp(6 * (position - 0.2))  # falls around 1e-3, ends at 1
    result = read_curve(lk.Experiment(), rates, losses)
    assert 3e-4 < result.suggestion < 1e-2  # the smoothed curve lags behind
    assert result.suggestion < result.lowest < 1
    assert result.apply().training.optimizer.lr == pytest.approx(result.suggestion, rel=0.05)
    assert f"training.optimizer.lr: {result.suggestion:.2g}" in result.text
    assert result.chart.panels[0].log_x  # type: ignore[union-attr]
    assert f"{result.suggestion:.2g}" in result.chart.title
    assert result.chart.png()[:4] == b"\x89PNG"


def test_the_running_mean_has_no_bias_at_its_start() -> None:
    losses = np.array([3.0, 1.0, 2.0])
    weights = 0.1 * 0.9 ** np.arange(3)
    expected = [np.sum(weights[: i + 1][::-1] * losses[: i + 1]) / weights[: i + 1].sum() for i in range(3)]
    np.testing.assert_allclose(smooth(losses), expected)


def test_a_curve_that_never_falls_and_one_that_is_too_short_are_named() -> None:
    rates = np.geomspace(1e-6, 10, 50)
    assert "falls at no rate" in read_curve(lk.Experiment(), rates, np.linspace(1, 2, 50)).note
    with pytest.raises(DataError, match="needs 11"):
        read_curve(lk.Experiment(), rates[:3], np.ones(3))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"low": 0}, "low: given 0, expected a learning rate greater than 0"),
        ({"low": 1.0, "high": 0.5}, "low: given 1, expected less than high"),
        ({"steps": 5}, "steps: given 5, expected a number from 20 to 10,000"),
    ],
    ids=["low", "range", "steps"],
)
def test_an_empty_range_is_refused(values: dict[str, float], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        find_learning_rate(**values)  # type: ignore[arg-type]


def test_the_largest_micro_batch_that_fits_is_suggested_unless_it_is_slow() -> None:
    trials = [Trial(4, 0.04, 10, True), Trial(8, 0.03, 20, True), Trial(16, math.nan, 0, False)]
    result = read_trials(lk.Experiment(), 32, "cpu", trials, "")
    assert result.suggestion == 8
    assert "no memory" in result.text
    assert result.apply().training.micro_batch == 8
    slow = read_trials(lk.Experiment(), 8, "cpu", [Trial(4, 0.02, 10, True), Trial(8, 0.03, 20, True)], "")
    assert slow.suggestion == 4
    assert read_trials(lk.Experiment(), 8, "cpu", [Trial(8, 0.03, 20, True)], "").apply().training.micro_batch is None
    with pytest.raises(DataError, match="out of memory"):
        read_trials(lk.Experiment(), 8, "cpu", [Trial(1, math.nan, 0, False)], "")
    with pytest.raises(ConfigError, match="micro_batch: given 4"):
        find_micro_batch(micro_batch=4)


def test_sizes_are_the_batch_and_its_halves() -> None:
    assert list_sizes(33) == [3, 5, 9, 17, 33]
    assert list_sizes(1) == [1]


def test_errors_of_memory_are_recognized() -> None:
    backend: Any = SimpleNamespace(is_out_of_memory=lambda error: isinstance(error, BufferError))
    assert is_out_of_memory(MemoryError(), backend)
    assert is_out_of_memory(RuntimeError("CUDA out of memory"), backend)
    assert is_out_of_memory(BufferError("the framework's own"), backend)
    assert not is_out_of_memory(ValueError("shape"), backend)


def test_a_finder_that_is_cancelled_before_its_process_starts_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []
    process = SimpleNamespace(kill=lambda: killed.append("now"))
    monkeypatch.setattr(trial, "Process", lambda *_, **__: contextlib.nullcontext(process))
    cancel = trial.Cancel()
    cancel()
    with trial.open_trial(lk.Experiment(), Path(), cancel):
        assert killed == ["now"]
    assert cancel.process is None
