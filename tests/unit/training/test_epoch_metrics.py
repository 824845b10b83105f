"""Metrics of the training part, added up from the outputs of steps; held to NumPy and scikit-learn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score

from lmkit.backends.base import Steps
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.exceptions import DamagedFile
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.training import epoch_metrics
from lmkit.training.epoch_metrics import EpochMetrics
from lmkit.training.fit import Block
from lmkit.training.progress import Progress

BATCH, STEPS = 8, 30


def metrics_of(task: str, classes: Any = (), rows: int = BATCH * STEPS, custom: Any = None, **target: float) -> Any:
    """Metrics of a data set of that many rows, of which only the number matters, and a progress to go with them."""
    encoding = TablePreprocessing(
        task, {}, {}, [], list(classes), [str(c) for c in classes], {"shift": 0.0, "scale": 1.0} | target
    )
    part = Part(np.zeros((rows, 1)), np.zeros(rows))
    return EpochMetrics(Dataset(part, part, part, encoding), BATCH, custom or {}), SimpleNamespace(progress=Progress())


def take(metrics: EpochMetrics, fit: Any, outputs: np.ndarray, targets: np.ndarray, *calls: int) -> None:
    """Hand over the outputs of all steps in calls that end after so many steps."""
    for first, end in zip((0, *calls), (*calls, len(outputs) // BATCH), strict=True):
        rows = slice(first * BATCH, end * BATCH)
        n = end - first
        steps = Steps(
            np.ones(n), np.ones(n), np.full(n, BATCH), outputs=outputs[rows].copy(), targets=targets[rows].copy()
        )
        metrics.on_steps_end(fit, Block(first + 1, steps, np.ones(n), n))


def classes(rows: int = BATCH * STEPS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, 4)).astype(np.float32), draw.integers(0, 4, rows)


def test_the_accuracy_is_the_mean_over_the_steps() -> None:
    z, y = classes()
    metrics, fit = metrics_of("multiclass", range(4))
    take(metrics, fit, z, y, 3, 17)
    right = 0
    for i in range(STEPS):  # a hand-written loop
        rows = slice(i * BATCH, (i + 1) * BATCH)
        right += int((z[rows].argmax(axis=1) == y[rows]).sum())
    found = metrics.result(fit)
    assert found["accuracy"] == right / len(y)
    assert found["auc"] == pytest.approx(roc_auc_score(y, softmax(z.astype(float), axis=1), multi_class="ovr"))
    assert metrics.result(fit) == {}  # the next epoch begins with nothing


def test_errors_of_numbers_are_in_their_own_unit() -> None:
    draw = np.random.default_rng(1)
    y, z = draw.normal(size=(240, 1)), draw.normal(size=(240, 1))
    metrics, fit = metrics_of("regression", shift=1.7e9, scale=50.0)  # seconds since 1970
    take(metrics, fit, z, y, 11)
    truth, guess = (v[:, 0] * 50 + 1.7e9 for v in (y, z))
    assert metrics.result(fit) == pytest.approx(
        {"mae": mean_absolute_error(truth, guess), "r2": r2_score(truth, guess)}, rel=1e-8
    )


def test_all_rows_count_for_means_and_the_last_ones_where_rows_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_metrics, "COMPARED_ROWS", 50)
    z, y = classes()
    seen = []

    def share(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        seen.append(len(y_true))
        return float(np.mean(y_true == y_pred))

    metrics, fit = metrics_of("multiclass", range(4), custom={"share": share})
    take(metrics, fit, z, y, *range(1, STEPS))
    found = metrics.result(fit)
    assert found["accuracy"] == np.mean(z.argmax(axis=1) == y)
    last = slice(len(y) - 50, None)
    assert seen == [50]
    assert found["share"] == np.mean(z[last].argmax(axis=1) == y[last]) != found["accuracy"]
    assert found["auc"] == pytest.approx(
        roc_auc_score(y[last], softmax(z[last].astype(float), axis=1), multi_class="ovr")
    )


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_digits_do_not_depend_on_the_calls_or_on_a_checkpoint(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_metrics, "COMPARED_ROWS", 100)
    z, y = classes()
    if task == "regression":
        z, y = z[:, :1] * 1e-3, (y[:, None] / 3).astype(np.float32)
    names = range(4) if task == "multiclass" else ()
    results = []
    for calls in [(), (1, 2, 29), tuple(range(1, STEPS))]:
        metrics, fit = metrics_of(task, names)
        take(metrics, fit, z, y, *calls)
        results.append(metrics.result(fit))
    before, fit = metrics_of(task, names)
    take(before, fit, z[: 17 * BATCH], y[: 17 * BATCH], 5)
    arrays, state = before.arrays(), fit.progress.to_dict()
    assert len(arrays["outputs"]) == len(arrays["targets"]) == 100
    after, _ = metrics_of(task, names)
    resumed = SimpleNamespace(progress=Progress.from_dict(state))
    after.restore(arrays, resumed.progress.sums, "state.json")
    take(after, resumed, z[17 * BATCH :], y[17 * BATCH :], 4)
    results.append(after.result(resumed))
    assert results[0] == results[1] == results[2] == results[3]


def test_the_outputs_of_a_call_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_metrics, "CALL_OUTPUTS", 100)
    metrics, fit = metrics_of("multiclass", range(4))
    take(metrics, fit, *classes())
    assert metrics.max_steps(fit) == 100 // (4 * BATCH)


def test_a_checkpoint_of_an_earlier_version_begins_in_the_middle() -> None:
    metrics, fit = metrics_of("multiclass", range(4))
    fit.progress.sums["rows"] = 3.0
    metrics.restore({}, fit.progress.sums, "epoch.safetensors")
    z, y = classes()
    take(metrics, fit, z, y)
    assert metrics.result(fit)["accuracy"] == np.mean(z.argmax(axis=1) == y)


@pytest.mark.parametrize("damage", ["targets", "rows", "lengths", "sums"])
def test_a_damaged_checkpoint_is_refused(damage: str) -> None:
    metrics, fit = metrics_of("multiclass", range(4))
    take(metrics, fit, *classes())
    arrays, sums = metrics.arrays(), dict(fit.progress.sums)
    if damage == "targets":
        del arrays["targets"]
    elif damage == "lengths":
        arrays["targets"] = arrays["targets"][1:]
    elif damage == "rows":
        arrays = {name: values[:0] for name, values in arrays.items()}
    else:
        del sums["accuracy"]
    with pytest.raises(DamagedFile, match="does not fit the data"):
        metrics.restore(arrays, sums, "epoch.safetensors")
