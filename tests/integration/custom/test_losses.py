"""The scale of custom losses, parts that cannot learn, and batches of a single row, against NumPy written by hand."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

import lmkit as lk
from lmkit.data.dataset import batch_order
from lmkit.data.preparation import prepare

draw = np.random.default_rng(1)
X = draw.normal(size=(230, 5)).astype("float32")
Y = np.where(draw.random(230) < 0.7, 0, np.where(X[:, 0] > 0, 1, 2))
NUMBER = X[:, 0] * 2 + X[:, 1] + 0.1 * draw.normal(size=230).astype("float32")
WEIGHTS = np.array([1.0, 10.0, 30.0])
SIZE = 32


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def linear(features: int, outputs: int) -> nn.Module:
    return nn.Linear(features, outputs)


def dense(features: int, outputs: int) -> keras.Model:
    return keras.Sequential([keras.Input((features,)), keras.layers.Dense(outputs)])


def trained(loss: Any, y: np.ndarray, model: Any = linear, **settings: Any) -> lk.Run:
    framework = "tensorflow" if model is dense else "torch"
    settings = {"lr": 0.0000001, "epochs": 1, **settings}
    run = lk.train(data=(X, y), model=model, framework=framework, loss=loss, inline=True, batch_size=SIZE, **settings)
    assert run.state == "completed", run.status.reason
    return run


def outputs_of(run: lk.Run, rows: np.ndarray) -> np.ndarray:
    if run.experiment.framework == "torch":
        return run.model.eval()(torch.as_tensor(rows)).detach().numpy().astype(float)
    return np.asarray(run.model(rows, training=False)).astype(float)


def row_losses(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -log_softmax(z, axis=1)[np.arange(len(z)), y]


class Focal(nn.CrossEntropyLoss):
    """A subclass that gives its loss another scale."""

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(z, y)


def weighted_function(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(z, y, weight=torch.tensor(WEIGHTS, dtype=z.dtype))


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS, dtype=torch.float32)),
        nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS)),
        functools.partial(nn.functional.cross_entropy, weight=torch.tensor(WEIGHTS, dtype=torch.float32)),
    ],
)
def test_a_loss_with_weights_of_classes_is_a_weighted_mean_everywhere(loss: Any) -> None:
    run = trained(loss, Y)  # so small a rate that the weights hardly change
    data = prepare(run.experiment.data, run.experiment.seed, "float32")
    values = {"loss": run.history["loss"][0], "val_loss": run.history["val_loss"][0], "test": run.metrics["loss"]}
    for name, (rows, y) in {"loss": data.training, "val_loss": data.validation, "test": data.test}.items():
        w = WEIGHTS[y]
        expected = np.sum(w * row_losses(outputs_of(run, rows), y)) / np.sum(w)
        assert values[name] == pytest.approx(expected, rel=1e-4), name


def test_a_class_that_is_ignored_counts_nowhere() -> None:
    run = trained(nn.CrossEntropyLoss(ignore_index=2), Y)
    data = prepare(run.experiment.data, run.experiment.seed, "float32")
    for value, (rows, y) in ((run.history["loss"][0], data.training), (run.metrics["loss"], data.test)):
        assert value == pytest.approx(row_losses(outputs_of(run, rows), y)[y != 2].mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "model"),
    [
        (nn.MSELoss(reduction="sum"), linear),
        (keras.losses.MeanSquaredError(reduction="sum"), dense),
    ],
)
def test_a_sum_is_that_of_a_batch_everywhere(loss: Any, model: Any) -> None:
    run = trained(loss, NUMBER, model)
    data = prepare(run.experiment.data, run.experiment.seed, "float32")
    values = {"loss": run.history["loss"][0], "val_loss": run.history["val_loss"][0], "test": run.metrics["loss"]}
    for name, (rows, y) in {"loss": data.training, "val_loss": data.validation, "test": data.test}.items():
        mean = np.mean((outputs_of(run, rows) - y) ** 2)
        assert values[name] == pytest.approx(SIZE * mean, rel=1e-3), name
    order = batch_order(run.experiment.seed, 0, len(data.training.X))[:SIZE]
    z = outputs_of(run, data.training.X[order])
    assert run.steps["loss"][0] == pytest.approx(np.sum((z - data.training.y[order]) ** 2), rel=1e-3)


def test_a_function_that_returns_a_sum_is_computed_batch_by_batch() -> None:
    def squares(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((z - y) ** 2).sum()

    run = trained(squares, NUMBER)
    data = prepare(run.experiment.data, run.experiment.seed, "float32")
    errors = (outputs_of(run, data.validation.X) - data.validation.y) ** 2
    sums = [errors[i : i + SIZE].sum() for i in range(0, len(errors), SIZE)]
    counts = [len(errors[i : i + SIZE]) for i in range(0, len(errors), SIZE)]
    assert run.history["val_loss"][0] == pytest.approx(np.average(sums, weights=counts), rel=1e-4)


@pytest.mark.parametrize(("loss", "factor"), [(Focal(), 3.0), (weighted_function, None)])
def test_what_a_subclass_or_function_does_is_measured_as_it_does_it(loss: Any, factor: float | None) -> None:
    run = trained(loss, Y)
    data = prepare(run.experiment.data, run.experiment.seed, "float32")
    y = data.validation.y
    losses = row_losses(outputs_of(run, data.validation.X), y)
    if factor:
        assert run.history["val_loss"][0] == pytest.approx(factor * losses.mean(), rel=1e-4)
    else:
        w = WEIGHTS[y]
        batches = [slice(i, i + SIZE) for i in range(0, len(y), SIZE)]
        means = [np.sum((w * losses)[b]) / np.sum(w[b]) for b in batches]
        expected = np.average(means, weights=[len(y[b]) for b in batches])
        assert run.history["val_loss"][0] == pytest.approx(expected, rel=1e-4)


# -- what cannot learn ----------------------------------------------------------------------------


def test_a_constant_number_is_refused() -> None:
    run = lk.train(data=(X, np.full(230, 2.5)), inline=True, epochs=1, **{"data.task": "regression"})
    assert run.state == "failed"
    assert run.status.reason.startswith("data.target: it is 2.5 in all ")


class Detached(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(features, 8), nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).detach())


def test_parts_without_a_gradient_are_reported_before_training() -> None:
    run = trained(nn.MSELoss(), NUMBER, Detached)
    texts = [event.data["text"] for event in run.events if event.type == "warning"]
    assert "no gradient: body.weight, body.bias have no part in the loss, and stay as they are" in texts


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_loss_that_is_zero_at_the_start_may_learn_later(framework: str) -> None:
    def slack(a: Any, b: Any) -> Any:
        """Zero for outputs below 30, whichever argument they are: the weights start near zero."""
        if framework == "torch":
            return torch.relu(a.abs() - 30).mean()
        return keras.ops.mean(keras.ops.relu(keras.ops.abs(b) - 30.0))

    model = linear if framework == "torch" else dense
    assert trained(slack, NUMBER, model).history["loss"][0] == 0.0


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_loss_of_the_targets_alone_is_refused(framework: str) -> None:
    def targets_only(a: Any, b: Any) -> Any:
        return (b**2).mean() + 0 * a.mean() if framework == "torch" else keras.ops.mean(a**2) + 0 * keras.ops.mean(b)

    model = linear if framework == "torch" else dense
    run = lk.train(data=(X, NUMBER), model=model, framework=framework, loss=targets_only, inline=True, epochs=1)
    assert run.state == "failed"
    assert "does not depend on any weight of the model" in run.status.reason


# -- a last batch of one row ----------------------------------------------------------------------


class Normalized(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def normalized(features: int, outputs: int) -> keras.Model:
    L = keras.layers
    return keras.Sequential([keras.Input((features,)), L.Dense(8), L.BatchNormalization(), L.Dense(outputs)])


@pytest.mark.parametrize(("framework", "model"), [("torch", Normalized), ("tensorflow", normalized)])
def test_a_last_batch_of_one_row_is_left_out_under_batch_normalization(framework: str, model: Any) -> None:
    data = {"data.validation": 0, "data.test": 0, "data.batch_size": 16}
    run = lk.train(data=(X[:65], Y[:65]), model=model, framework=framework, inline=True, epochs=3, **data)
    assert run.state == "completed", run.status.reason
    assert run.status.step == 3 * 4
    (text,) = (e.data["text"] for e in run.events if e.type == "warning" and e.data["text"].startswith("batch_size: "))
    assert "each epoch leaves out one of the 65 rows" in text
    plain = linear if framework == "torch" else dense
    other = lk.train(data=(X[:65], Y[:65]), model=plain, framework=framework, inline=True, epochs=3, **data)
    assert other.status.step == 3 * 5, "a model that can, trains on all rows"


def test_a_batch_size_of_one_under_batch_normalization_is_refused() -> None:
    run = lk.train(data=(X, Y), model=Normalized, inline=True, epochs=1, batch_size=1)
    assert run.status.reason.startswith("data.batch_size: given 1, but the model normalizes over the rows of a batch")
