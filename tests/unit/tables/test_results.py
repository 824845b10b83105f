"""The interval of a test metric is that of the textbooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from written_run import falling, written_run

from lmkit.tables.results import result
from lmkit.tables.results import test_interval as interval_of


@pytest.mark.parametrize(("correct", "rows"), [(90, 100), (0, 12), (360, 360), (171, 360)])
def test_the_interval_of_accuracy_is_wilsons(correct: int, rows: int) -> None:
    targets = np.array(["a"] * rows)
    predictions = np.array(["a"] * correct + ["b"] * (rows - correct))
    expected = stats.binomtest(correct, rows).proportion_ci(method="wilson")
    assert interval_of("accuracy", targets, predictions) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("rows", [2_000, 60_000])
def test_the_interval_of_an_error_is_near_that_of_its_mean(rows: int) -> None:
    draw = np.random.default_rng(1)
    targets = draw.normal(size=rows)
    predictions = targets + draw.normal(scale=0.3, size=rows)
    errors = np.abs(targets - predictions)
    half = 1.96 * errors.std() / np.sqrt(len(errors))
    low, high = interval_of("mae", targets, predictions) or (0.0, 0.0)
    assert (low, high) == pytest.approx((errors.mean() - half, errors.mean() + half), abs=half / 5)
    low, high = interval_of("r2", targets, predictions) or (0.0, 0.0)
    assert low < 1 - ((targets - predictions) ** 2).sum() / ((targets - targets.mean()) ** 2).sum() < high


def test_there_is_no_interval_of_few_rows_or_of_other_metrics() -> None:
    assert interval_of("accuracy", np.ones(9), np.ones(9)) is None
    assert interval_of("auc", np.ones(100), np.ones(100)) is None


def test_the_result_of_a_run_is_its_main_metric_with_its_rows(tmp_path: Path) -> None:
    targets = np.arange(40) % 2
    predictions = np.concatenate([1 - targets[:6], targets[6:]])
    run = written_run(
        tmp_path,
        losses=falling(8),
        predictions=(targets, predictions),
        status={"metrics": {"loss": 0.5, "accuracy": 0.85}},
    )
    assert str(result(run)) == "test accuracy 0.85, 95 % interval 0.7093 to 0.9294, 40 rows"
    assert result(written_run(tmp_path, state="failed", prepared=False)) is None
    plain = written_run(tmp_path, losses=falling(8), status={"metrics": {"loss": 0.5}})
    assert str(result(plain)) == "test loss 0.5"
