"""Metrics of the training part in both frameworks: those of a loop in NumPy, and the same after an interruption."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy_mlp as reference
import pytest
from sklearn import datasets, preprocessing
from sklearn.metrics import r2_score, roc_auc_score

import lmkit as lk
from lmkit.training import epoch_metrics
from lmkit.training.checkpoints import Checkpoints
from lmkit.training.fit import Fit
from lmkit.training.train import train

FRAMEWORKS = ["torch", "tensorflow"]
ROWS, BATCH, SEED, EPOCHS, RATE = 203, 32, 5, 3, 0.1  # 7 batches an epoch, the last of 11 rows


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of a set, features and a numeric target at mean 0 and deviation 1."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, y = preprocessing.StandardScaler().fit_transform(X[:ROWS]), y[:ROWS]
    return X, (y - y.mean()) / y.std() if name == "diabetes" else y


def by_hand(name: str, loss: str, outputs: int) -> list[dict[str, float]]:
    """Train by SGD in NumPy, and collect outputs before each update; metrics of each epoch by scikit-learn."""
    X, y = table(name)
    weights = reference.first_weights([X.shape[1], 10, outputs], "relu", SEED)
    history = []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, 1, epoch]).permutation(ROWS)
        z, losses = [], 0.0
        for i in range(0, ROWS, BATCH):
            rows = order[i : i + BATCH]
            target = y[rows] if outputs > 1 else y[rows][:, None].astype(float)
            z.append(reference.forward(weights, X[rows], "relu")[0])
            value, slopes = reference.gradients(weights, X[rows], target, "relu", loss)
            losses += value * len(rows)
            weights = {key: w - RATE * slopes[key] for key, w in weights.items()}
        logits, truth = np.concatenate(z), y[order]
        row = {"loss": losses / ROWS}
        if name == "diabetes":
            row |= {"mae": float(np.abs(logits[:, 0] - truth).mean()), "r2": r2_score(truth, logits[:, 0])}
        elif outputs == 1:
            row |= {"accuracy": np.mean((logits[:, 0] > 0) == truth), "auc": roc_auc_score(truth, logits[:, 0])}
        else:
            row |= {"accuracy": np.mean(logits.argmax(axis=1) == truth)}
        history.append(row)
    return history


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("name", "loss", "outputs"),
    [
        ("breast_cancer", "binary_crossentropy", 1),
        ("digits", "categorical_crossentropy", 10),
        ("diabetes", "mean_squared_error", 1),
    ],
)
def test_a_hand_written_loop_gives_the_same(name: str, loss: str, outputs: int, framework: str) -> None:
    run = lk.train(
        data=table(name),
        framework=framework,
        model={"family": "mlp", "hidden": [10], "activation": "relu", "initializer": "he"},
        training={"precision": "float64", "optimizer": {"name": "sgd", "lr": RATE, "momentum": 0.0}, "epochs": EPOCHS},
        **{"batch_size": BATCH, "validation": 0.0, "test": 0.0, "scale": "none", "scale_target": False},
        seed=SEED,
        inline=True,
    )
    expected = by_hand(name, loss, outputs)
    for column in expected[0]:
        np.testing.assert_allclose(run.history[column], [row[column] for row in expected], rtol=1e-10, err_msg=column)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_dropout_is_on_in_them(framework: str) -> None:
    run = lk.train(
        data="breast_cancer",
        framework=framework,
        model={"family": "mlp", "hidden": [64], "dropout": 0.9},
        training={"epochs": 15},
        inline=True,
    )
    last = run.history.iloc[-1]
    assert last["accuracy"] < last["val_accuracy"]
    assert last["loss"] > last["val_loss"]


class Killed(BaseException):
    """As a kill: nothing is written after it."""


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_a_run_that_was_killed_in_mid_epoch_has_the_same_curve(
    data: str, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_metrics, "COMPARED_ROWS", 150)
    settings: dict[str, Any] = {"framework": framework, "epochs": 2, "model": "mlp:textbook", "batch_size": 64}
    whole = lk.train(data=data, inline=True, **settings)
    per_epoch = int(whole.history["step"].iloc[0])
    with monkeypatch.context() as patch:

        def kill(self: Checkpoints, fit: Fit, block: Any) -> None:
            if fit.progress.step > per_epoch + per_epoch // 2:
                self.save(fit)
                raise Killed

        patch.setattr(Checkpoints, "on_steps_end", kill)
        patch.setattr(epoch_metrics.EpochMetrics, "max_steps", lambda *_: 1)
        with pytest.raises(Killed):
            lk.train(data=data, inline=True, **settings)
    run = lk.attach()
    assert (run.path / "checkpoints" / "last" / "epoch.safetensors").exists()
    train(run.folder)
    assert run.status.state == "completed"
    columns = [column for column in whole.history if column != "seconds"]
    assert run.history[columns].equals(whole.history[columns])
    assert not (run.path / "checkpoints" / "last" / "epoch.safetensors").exists()
