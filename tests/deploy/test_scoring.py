"""Outputs that are given are scored as the run scored its own: by its loss and metrics, somebody's own among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.deploy.bundle import _tensors, scores
from lmkit.deploy.maker import Maker
from lmkit.deploy.runtimes import load
from lmkit.deploy.scoring import scored
from lmkit.deploy.techniques import Subject, distil, find, prune, tuning

draw = np.random.default_rng(4)
X = draw.normal(size=(120, 4))
Y = np.digitize(X[:, 0], [-0.5, 0.5])


def margins(outputs: Any, targets: Any) -> Any:
    """How far other classes come within 1 of the right one, a value a row (Crammer and Singer, 2001)."""
    import torch

    right = outputs.gather(1, targets[:, None].long())
    return torch.relu(outputs - right + 1).sum(1) - 1


def margins_keras(y: Any, z: Any) -> Any:
    import tensorflow as tf

    right = tf.gather(z, tf.cast(y, tf.int32), batch_dims=1)[:, None]
    return tf.reduce_sum(tf.nn.relu(z - right + 1), axis=1) - 1


def off_by(target: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.abs(target - prediction).sum())


def squeamish(target: np.ndarray, prediction: np.ndarray) -> float:
    if squeamish.refuses:  # type: ignore[attr-defined]
        raise ValueError("not of these")
    return 1.0


squeamish.refuses = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(("framework", "loss"), [("torch", margins), ("tensorflow", margins_keras)])
def test_a_loss_and_metrics_of_ones_own(
    framework: str, loss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lk.train(
        data=(X, Y), model={"hidden": [6]}, framework=framework, loss=loss, metrics=[off_by, squeamish], epochs=2,
        inline=True, runs=tmp_path,
    )  # fmt: skip
    assert run.state == "completed", run.status.reason
    maker = Maker.__new__(Maker)
    maker.subject = Subject(run)
    data, backend = maker.subject.data, maker.subject.backend
    z = backend.predict(maker.subject.model, np.asarray(data.test.X))
    for name, values in (("own", z), ("other", z[:, ::-1].copy())):
        np.save(tmp_path / f"{name}.npy", values)
    found = {n: maker.score(str(tmp_path / f"{n}.npy"), str(tmp_path / "own.npy"))["metrics"] for n in ("own", "other")}
    assert found["own"] == pytest.approx(run.metrics, rel=1e-5)
    y, other = data.test.y, z[:, ::-1].astype(np.float64)
    by_hand = [sum(max(0.0, v - row[t] + 1) for v in row) - 1 for row, t in zip(other, y, strict=True)]
    assert found["other"]["loss"] == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert found["other"]["off_by"] == np.abs(other.argmax(1) - y).sum()
    told = scores(run, z[:, ::-1].copy(), data)
    assert told["loss"]["low"] < told["loss"]["value"] < told["loss"]["high"]
    assert told["loss"]["value"] == pytest.approx(np.mean(by_hand), rel=1e-5)
    monkeypatch.setattr(squeamish, "refuses", True)
    assert set(scored(run, z, data)) == set(run.metrics) - {"off_by", "squeamish"}


def test_a_language_model_gives_logits_of_every_place(subjects: Any, made: Any) -> None:
    """What the bundle says of an artefact in which nothing goes by name."""
    subject = subjects("torch", "decoder")
    folder, artefact = made("torch", "decoder", "baseline")
    logits = subject.backend.predict(subject.model, np.asarray(subject.data.test.X[:2]))
    (length,), vocabulary = artefact.row, subject.signature.outputs
    told = _tensors(folder, artefact, logits)
    assert told["input"] == {"name": None, "shape": [None, length], "dtype": "int32"}
    assert told["output"] == {"name": None, "shape": [None, length, vocabulary], "dtype": "float32"}


def test_smaller_language_models_are_measured_by_perplexity(
    subjects: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruned, distilled and in eight bits: e to the mean of −log softmax, over every place of the test part."""
    for module, name in ((tuning, "LEAST_STEPS"), (prune, "LEAST_STEPS"), (prune, "STEPS"), (distil, "STEPS")):
        monkeypatch.setattr(module, name, 20)
    maker = Maker.__new__(Maker)
    maker.subject = Subject(subjects("torch", "decoder").run)
    X, y = (np.asarray(values) for values in maker.subject.data.test)
    np.save(tmp_path / "base.npy", maker.subject.backend.predict(maker.subject.model, X))
    for technique in ("prune-50", "distil", "onnx-int8-static"):
        folder = tmp_path / technique
        folder.mkdir()
        artefact = find(technique).make(maker.subject, folder).write(folder)
        z = np.asarray(load(folder, artefact, 1).predict(X.astype(artefact.dtype)))
        np.save(tmp_path / "logits.npy", z)
        found = maker.score(str(tmp_path / "logits.npy"), str(tmp_path / "base.npy"))["metrics"]
        z = z.astype(np.float64)
        shares = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        right = np.take_along_axis(shares, y[..., None].astype(int), -1)
        assert found["perplexity"] == pytest.approx(np.exp(-np.log(right).mean()), rel=1e-5)
        assert 1 < found["perplexity"] < z.shape[-1]
    assert maker.subject.after(find("prune-50")).spec.heads == 1
