"""Outputs that are given are scored as the run scored its own: by its loss and metrics, somebody's own among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrowing import require_type

import lmkit as lk
from lmkit.deploy.bundle.evaluation import describe_arrays, scores
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import distil, prune
from lmkit.deploy.techniques.base import find
from lmkit.deploy.trained_model import TrainedModel
from lmkit.specs.models import Transformer
from lmkit.training import finetune
from lmkit.training.scoring import score_outputs

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
        data=(X, Y),
        model={"hidden": [6]},
        framework=framework,
        loss=loss,
        metrics=[off_by, squeamish],
        epochs=2,
        inline=True,
        runs=tmp_path,
    )
    assert run.state == "completed", run.status.reason
    maker = Builder.__new__(Builder)
    maker.trained = TrainedModel(run)
    data, backend = maker.trained.data, maker.trained.backend
    z = backend.predict(maker.trained.model, np.asarray(data.test.X))
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
    assert set(score_outputs(run.experiment, run.path.parent, z, data)) == set(run.metrics) - {"off_by", "squeamish"}


def test_a_language_model_gives_logits_of_every_place(subjects: Any, made: Any) -> None:
    """What the bundle says of an artifact in which nothing goes by name."""
    subject = subjects("torch", "decoder")
    _, artifact = made("torch", "decoder", "baseline")
    logits = subject.backend.predict(subject.model, np.asarray(subject.data.test.X[:2]))
    (length,), vocabulary = artifact.row, subject.signature.outputs
    told = describe_arrays(np.asarray(subject.data.test.X[:2]).astype(artifact.dtype), logits)
    assert told["input"] == {"name": None, "shape": [None, length], "dtype": "int32"}
    assert told["output"] == {"name": None, "shape": [None, length, vocabulary], "dtype": "float32"}


def test_smaller_language_models_are_measured_by_perplexity(
    subjects: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruned, distilled and in eight bits: e to the mean of −log softmax, over every place of the test part."""
    for module, name in ((finetune, "MIN_STEPS"), (prune, "MIN_STEPS"), (prune, "STEPS"), (distil, "STEPS")):
        monkeypatch.setattr(module, name, 20)
    maker = Builder.__new__(Builder)
    maker.trained = TrainedModel(subjects("torch", "decoder").run)
    X, y = (np.asarray(values) for values in maker.trained.data.test)
    np.save(tmp_path / "base.npy", maker.trained.backend.predict(maker.trained.model, X))
    for technique in ("prune-50", "distil", "onnx-int8-static"):
        folder = tmp_path / technique
        folder.mkdir()
        artifact = find(technique).make(maker.trained, folder).write(folder)
        z = np.asarray(load(folder, artifact, 1).predict(X.astype(artifact.dtype)))
        np.save(tmp_path / "logits.npy", z)
        found = maker.score(str(tmp_path / "logits.npy"), str(tmp_path / "base.npy"))["metrics"]
        z = z.astype(np.float64)
        shares = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        right = np.take_along_axis(shares, y[..., None].astype(int), -1)
        assert found["perplexity"] == pytest.approx(np.exp(-np.log(right).mean()), rel=1e-5)
        assert 1 < found["perplexity"] < z.shape[-1]
    assert require_type(maker.trained.then(find("prune-50")).spec, Transformer).heads == 1
