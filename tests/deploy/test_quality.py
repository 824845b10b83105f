"""The quality of a variant beside the baseline's, in bounded memory."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

import lmkit as lk
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.compare import benchmark
from lmkit.deploy.compare.quality import Quality
from lmkit.deploy.measure.server import VariantServer
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.rpc import Process
from lmkit.training import scoring

Made = Callable[[str, str, str], tuple[Path, Artifact]]


def test_outputs_of_a_large_vocabulary_are_scored_piece_by_piece(
    subjects: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "MAX_NUMBERS", 2**16)
    monkeypatch.setattr("lmkit.deploy.compare.quality.MAX_NUMBERS", 2**16)
    subject = subjects("torch", "decoder")
    y = np.asarray(subject.data.test.y[:8])
    draw = np.random.default_rng(0)
    outputs = draw.standard_normal((len(y), y.shape[1], 50_000)).astype("f4")
    reference = outputs + 0.1 * draw.standard_normal(outputs.shape, dtype="f4")
    quality = Quality(subject)
    peaks = []
    for i in range(0, len(y), 2):
        tracemalloc.start()
        quality.add(outputs[i : i + 2], reference[i : i + 2])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 0.2 * outputs.nbytes
    result = quality.result()
    losses = [
        -np.take_along_axis(log_softmax(z.astype("f8"), -1), y[..., None].astype(int), -1).mean((1, 2))
        for z in (outputs, reference)
    ]
    assert result["metrics"]["loss"] == pytest.approx(losses[0].mean())
    assert result["metrics"]["perplexity"] == pytest.approx(np.exp(losses[0].mean()))
    expected = np.sqrt(np.mean((outputs - reference) ** 2) / np.mean(reference**2))
    assert result["divergence"] == pytest.approx(expected, rel=1e-5)
    assert result["agreement"] == pytest.approx(np.mean(outputs.argmax(-1) == reference.argmax(-1)))
    value, low, high = result["differences"]["loss"]
    assert value == pytest.approx(losses[0].mean() - losses[1].mean())
    assert low <= value <= high
    ratio = [end / value for end in result["differences"]["bits_per_byte"]]
    assert ratio[0] == pytest.approx(result["metrics"]["bits_per_byte"] / result["metrics"]["loss"], rel=1e-6)


@pytest.mark.usefixtures("here")
def test_a_comparison_never_holds_more_than_a_piece(
    subjects: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "small"
    shutil.copytree(subjects("torch", "decoder").run.path, path)
    run = lk.attach(path)
    whole = lk.compare(run, ["onnx-int8-static"], batches=(1,), rounds=1, limits=False, wait=True)
    counts: list[int] = []
    predict = VariantServer.predict

    def count_rows(self: VariantServer, **order: Any) -> Any:
        counts.append(order["rows"])
        return predict(self, **order)

    monkeypatch.setattr(VariantServer, "predict", count_rows)
    monkeypatch.setattr(benchmark, "PIECE_BYTES", 5 * 16 * 257 * 4)
    pieces = lk.compare(run, ["onnx-int8-static"], batches=(1,), rounds=1, limits=False, again=True, wait=True)
    assert max(counts) == 5
    for one, other in zip(whole.measured, pieces.measured, strict=True):
        assert one.metrics == pytest.approx(other.metrics)
        assert one.divergence == pytest.approx(other.divergence)
        assert one.agreement == pytest.approx(other.agreement)
        assert one.flags == other.flags == ()
    assert not whole[0].differences
    rows, difference = len(subjects("torch", "decoder").data.test.X), pieces[1].differences["perplexity"]
    assert pieces[1].rows == rows
    assert difference.value == pytest.approx(pieces[1].metrics["perplexity"] - pieces[0].metrics["perplexity"])


def test_memory_is_that_of_the_variant_whatever_the_rows(made: Made, subjects: Any, tmp_path: Path) -> None:
    folder, _ = made("torch", "mlp", "onnx")
    X = np.asarray(subjects("torch", "mlp").data.test.X)
    peaks = []
    for rows in (200, 60_000):
        np.save(tmp_path / "rows.npy", np.resize(X, (rows, X.shape[1])))
        with Process("lmkit.deploy.measure.server", folder, 1, tmp_path / "rows.npy") as server:
            server.ask("load")
            peaks.append(server.ask("memory", batches=[1, 64])["peak_bytes"])
            assert server.ask("predict", into=str(tmp_path / "out.npy"), batch=64)["rows"] == rows
    assert abs(peaks[0] - peaks[1]) < 3e6 < 60_000 * X.shape[1] * 4


def test_accuracies_differ_by_rows_that_one_model_gets_right(subjects: Any) -> None:
    subject: TrainedModel = subjects("torch", "mlp")
    X, y = (np.asarray(values) for values in subject.data.test)
    base = subject.backend.predict(subject.model, X)
    other = base.copy()
    right = np.flatnonzero(base.argmax(1) == y)[:30]
    other[right] = np.roll(other[right], 1, axis=1)
    quality = Quality(subject)
    quality.add(other, base)
    result = quality.result()
    value, low, high = result["differences"]["accuracy"]
    assert value == pytest.approx(-30 / len(y))
    assert low < value < high < 0
    assert set(result["differences"]) == {"loss", "accuracy", "auc"}
    same = Quality(subject)
    same.add(base, base)
    value, low, high = same.result()["differences"]["accuracy"]
    assert value == 0
    assert low == pytest.approx(-high)
    assert 0 < high < 5 / len(y)


def test_the_fit_of_a_regression_differs_by_its_squared_errors(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    X = draw.normal(size=(400, 3))
    run = lk.train(
        data=(X, 50 + 7 * X[:, 0] + draw.normal(size=400)),
        model={"hidden": [4]},
        epochs=2,
        inline=True,
        runs=tmp_path,
        task="regression",
    )
    subject = TrainedModel(run)
    base = subject.backend.predict(subject.model, np.asarray(subject.data.test.X))
    quality = Quality(subject)
    quality.add(base + 0.3, base)
    result = quality.result()
    truth = run.preprocessing.restore(np.asarray(subject.data.test.y))
    errors = [np.square(run.preprocessing.decode(z) - truth) for z in (base + 0.3, base)]
    value, low, high = result["differences"]["r2"]
    assert value == pytest.approx((errors[1].mean() - errors[0].mean()) / truth.var())
    assert low < value < high
    assert result["metrics"]["r2"] == pytest.approx(1 - errors[0].mean() / truth.var(), rel=1e-5)


def mean_error(y_true: Any, y_pred: Any) -> float:
    return float(np.abs(y_true - y_pred).mean())


def test_a_custom_metric_has_the_interval_of_the_built_in_one_that_it_equals(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    X = draw.normal(size=(500, 3))
    run = lk.train(
        data=(X, 7 * X[:, 0] + draw.normal(size=500)),
        model={"hidden": [4]},
        epochs=1,
        inline=True,
        runs=tmp_path,
        task="regression",
        metrics=[mean_error],
    )
    subject = TrainedModel(run)
    base = subject.backend.predict(subject.model, np.asarray(subject.data.test.X))
    quality = Quality(subject)
    quality.add(base + 0.05 * draw.normal(size=base.shape).astype(base.dtype), base)
    result = quality.result()
    custom, built_in = result["differences"]["mean_error"], result["differences"]["mae"]
    assert custom[0] == pytest.approx(built_in[0], rel=1e-6)
    width = built_in[2] - built_in[1]
    assert custom[1:] == pytest.approx(built_in[1:], abs=0.1 * width)  # 400 draws and 2,000 are different ones
