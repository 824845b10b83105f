"""What a custom model's outputs are: logits or probabilities, and everything that reads them, in both frameworks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

import lmkit as lk
from lmkit.deploy.compare.quality import Quality
from lmkit.deploy.trained_model import TrainedModel

draw = np.random.default_rng(0)
X = draw.normal(size=(300, 6)).astype("float32")
TWO = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
THREE = np.digitize(X[:, 0] + X[:, 1], [-0.6, 0.6])


class Both(nn.Module):
    """Logits in training, probabilities afterwards."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z if self.training else torch.softmax(z, -1)


class Net(nn.Module):
    """A network, and what comes after its last layer."""

    def __init__(self, features: int, last: Any, width: int = 1) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(features, 16), nn.Linear(16, width), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(torch.tanh(self.first(x))))


def torch_model(last: str, width: int = 1) -> Any:
    functions = {
        "linear": nn.Identity(),
        "over_rows": nn.Softmax(0),
        "all_squeezed": torch.squeeze,
        "mean": torch.mean,
        "fixed": lambda z: z.view(2, -1) if len(z) % 2 else z,
        "both": Both(),
        "sigmoid": nn.Sigmoid(),
        "softmax": nn.Softmax(-1),
        "log_softmax": nn.LogSoftmax(-1),
        "by_hand": lambda z: 1 / (1 + torch.exp(-z)),
        "squeezed": lambda z: torch.sigmoid(z).squeeze(),
    }

    def build(features: int) -> nn.Module:
        return Net(features, functions[last], width)

    return build


def keras_model(last: str, width: int = 1) -> Any:
    activation = {
        "by_hand": lambda z: 1 / (1 + keras.ops.exp(-z)),
        "squeezed": lambda z: keras.ops.squeeze(keras.ops.sigmoid(z)),
    }.get(last, last)

    def build() -> keras.Model:
        L = keras.layers
        return keras.Sequential([keras.Input((6,)), L.Dense(16, "tanh"), L.Dense(width), L.Activation(activation)])

    return build


MODELS = {"torch": torch_model, "tensorflow": keras_model}
FRAMEWORKS = list(MODELS)


def trained(framework: str, last: str, width: int = 1, y: np.ndarray = TWO, **settings: Any) -> lk.Run:
    model = settings.pop("model", None) or MODELS[framework](last, width)
    settings = {"epochs": 15, "optimizer": "adam", "lr": 0.01, "early_stopping": None, **settings}
    return lk.train(data=(X, y), model=model, framework=framework, inline=True, **settings)


def outputs_of(run: lk.Run, rows: np.ndarray) -> np.ndarray:
    """The outputs of the framework's own model for prepared rows."""
    if run.experiment.framework == "torch":
        with torch.no_grad():
            return run.model.eval()(torch.as_tensor(rows)).numpy()
    return np.asarray(run.model(rows, training=False))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reason(run: lk.Run) -> str:
    assert run.state == "failed", run.state
    return run.status.reason


# -- probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("last", ["sigmoid", "by_hand", "squeezed"])
def test_a_model_of_probabilities_is_read_as_one(framework: str, last: str) -> None:
    run = trained(framework, last)
    assert run.state == "completed", run.status.reason
    part = TrainedModel(run).data.test
    p = outputs_of(run, part.X).reshape(-1).astype(float)
    truth = part.y.reshape(-1)
    assert run.metrics["loss"] == pytest.approx(log_loss(truth, p), rel=1e-4)
    assert run.metrics["accuracy"] == pytest.approx(np.mean((p > 0.5) == truth))
    assert run.metrics["accuracy"] > 0.8
    assert run.metrics["auc"] == pytest.approx(roc_auc_score(truth, p))
    np.testing.assert_array_equal(run.predictions["prediction"], p > 0.5)
    shares = run.predict_proba(X)
    np.testing.assert_array_equal(run.predict(X), shares[:, 1] > 0.5)
    assert 0.0 <= shares.min() < 0.1
    assert 0.9 < shares.max() <= 1.0
    assert run.predict(X[:1]).shape == (1,)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_probabilities_and_logits_learn_the_same(framework: str) -> None:
    logits, shares = (trained(framework, last, seed=2) for last in ("linear", "sigmoid"))
    np.testing.assert_allclose(logits.history["val_loss"], shares.history["val_loss"], rtol=2e-3)
    np.testing.assert_array_equal(logits.predict(X), shares.predict(X))


@pytest.mark.parametrize(
    ("framework", "last", "width"),
    [
        *(("torch", last, width) for last in ("linear", "softmax", "log_softmax") for width in (2, 3)),
        ("tensorflow", "linear", 2),
        ("tensorflow", "softmax", 3),
        ("tensorflow", "log_softmax", 3),
    ],
)
def test_an_output_for_each_class(framework: str, last: str, width: int) -> None:
    y = TWO if width == 2 else THREE
    run = trained(framework, last, width, y)
    assert run.state == "completed", run.status.reason
    part = TrainedModel(run).data.test
    z = outputs_of(run, part.X).astype(float)
    p = z if last == "softmax" else np.exp(z)
    p /= p.sum(1, keepdims=True)
    assert run.metrics["loss"] == pytest.approx(log_loss(part.y, p, labels=range(width)), rel=1e-3)
    assert run.metrics["accuracy"] == pytest.approx(np.mean(z.argmax(1) == part.y))
    assert run.metrics["accuracy"] > 0.75
    probabilities = run.predict_proba(X)
    assert probabilities.shape == (300, width)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(run.predict(X), probabilities.argmax(1))


def test_the_setting_comes_before_what_the_model_looks_like() -> None:
    run = trained("torch", "sigmoid", **{"model.outputs": "logits"})
    assert run.state == "completed", run.status.reason
    assert run.preprocessing.output_kind == "logits"
    assert 0.5 <= run.predict_proba(X)[:, 1].min() < run.predict_proba(X)[:, 1].max() < 0.732  # a sigmoid of a sigmoid
    said = reason(trained("torch", "linear", **{"model.outputs": "probabilities"}))
    assert "model.outputs is probabilities, but its outputs lie between" in said


def test_a_softmax_over_the_rows_of_a_batch_is_refused() -> None:
    said = reason(trained("torch", "over_rows", 3, THREE))
    assert "the probabilities of a row do not sum to 1; take the softmax over the last axis" in said


def test_a_softmax_over_one_output_is_refused() -> None:
    assert "over a single output is always 1; write a sigmoid" in reason(trained("torch", "softmax"))


def test_two_kinds_of_outputs_are_refused() -> None:
    said = reason(trained("torch", "both", 3, THREE))
    assert "gives logits in training and probabilities in evaluation" in said


# -- what a run says about them is read by everything else ------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_variants_are_scored_as_the_run_was(framework: str) -> None:
    subject = TrainedModel(trained(framework, "sigmoid"))
    outputs = subject.backend.predict(subject.model, subject.data.test.X)
    quality = Quality(subject)
    for rows in (slice(0, 20), slice(20, None)):
        quality.add(outputs[rows], outputs[rows])
    result = quality.result()
    assert result["metrics"] == pytest.approx(subject.run.metrics, rel=1e-5)
    assert result["agreement"] == 1.0


def test_a_run_folder_of_logits_says_nothing_new() -> None:
    assert "output_kind" not in trained("torch", "linear").preprocessing.to_dict()
    shares = trained("torch", "sigmoid")
    assert shares.preprocessing.to_dict()["output_kind"] == "probabilities"
    again = lk.attach(shares.name)
    np.testing.assert_array_equal(again.predict(X), shares.predict(X))


# -- losses ---------------------------------------------------------------------------------------

RIGHT = [
    ("torch", "sigmoid", 1, nn.BCELoss()),
    ("torch", "by_hand", 1, nn.functional.binary_cross_entropy),
    ("torch", "linear", 1, nn.BCEWithLogitsLoss),
    ("torch", "linear", 2, nn.CrossEntropyLoss()),
    ("torch", "log_softmax", 2, nn.CrossEntropyLoss()),
    ("torch", "log_softmax", 2, nn.NLLLoss()),
    ("torch", "log_softmax", 2, nn.KLDivLoss(reduction="batchmean")),
    ("tensorflow", "sigmoid", 1, keras.losses.BinaryCrossentropy()),
    ("tensorflow", "linear", 1, keras.losses.BinaryCrossentropy(from_logits=True)),
    ("tensorflow", "softmax", 2, keras.losses.SparseCategoricalCrossentropy()),
    ("tensorflow", "linear", 2, keras.losses.CategoricalCrossentropy(from_logits=True)),
    ("tensorflow", "softmax", 2, keras.losses.KLDivergence()),
]


@functools.cache
def reference(framework: str, last: str, width: int) -> pd.DataFrame:
    """The history with the loss that the task has."""
    return trained(framework, last, width).history


@pytest.mark.parametrize(("framework", "last", "width", "loss"), RIGHT)
def test_a_loss_that_takes_what_the_model_gives(framework: str, last: str, width: int, loss: Any) -> None:
    run = trained(framework, last, width, loss=loss)
    assert run.state == "completed", run.status.reason
    assert run.metrics["accuracy"] > 0.8
    for column in ("loss", "val_loss"):
        np.testing.assert_allclose(run.history[column], reference(framework, last, width)[column], rtol=1e-3)


WRONG = [
    ("torch", "sigmoid", 1, nn.BCEWithLogitsLoss(), "takes logits, and", "gives probabilities (it ends in a sigmoid)"),
    ("torch", "linear", 1, nn.BCELoss(), "takes probabilities, and", "loss=nn.BCEWithLogitsLoss()"),
    ("torch", "softmax", 2, nn.CrossEntropyLoss(), "takes logits, and", "leave the softmax out of the model"),
    ("torch", "linear", 2, nn.NLLLoss(), "takes log-probabilities, and", "loss=nn.CrossEntropyLoss()"),
    ("torch", "linear", 1, nn.CrossEntropyLoss(), "takes one output for each class", "gives one for two classes"),
    ("tensorflow", "linear", 1, keras.losses.BinaryCrossentropy(), "takes probabilities, and", "from_logits=True"),
    (
        "tensorflow",
        "sigmoid",
        1,
        keras.losses.BinaryCrossentropy(from_logits=True),
        "takes logits",
        "from_logits=False",
    ),
    (
        "tensorflow",
        "linear",
        2,
        keras.losses.SparseCategoricalCrossentropy(),
        "takes probabilities",
        "from_logits=True",
    ),
    (
        "tensorflow",
        "linear",
        2,
        keras.losses.BinaryCrossentropy(from_logits=True),
        "one output for two classes",
        "each",
    ),
]


@pytest.mark.parametrize(("framework", "last", "width", "loss", "takes", "remedy"), WRONG)
def test_a_loss_that_takes_something_else(
    framework: str, last: str, width: int, loss: Any, takes: str, remedy: str
) -> None:
    said = reason(trained(framework, last, width, loss=loss))
    assert said.startswith("training.loss: ")
    assert takes in said
    assert remedy in said
    assert "loss: auto, which takes what the model gives" in said


def test_a_family_of_logits_is_held_to_its_loss_too() -> None:
    run = lk.train(data=(X, TWO), model="mlp", inline=True, epochs=1, loss=nn.BCELoss())
    assert "BCELoss takes probabilities, and the model of mlp gives logits" in reason(run)


# -- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["mean", "fixed"])
def test_a_model_that_loses_rows_is_refused(last: str) -> None:
    said = reason(trained("torch", last, 2))
    assert said.startswith("model.builder: the model of build ")


def test_a_squeeze_of_several_outputs_is_repaired() -> None:
    run = trained("torch", "all_squeezed", 3, THREE)
    assert run.state == "completed", run.status.reason
    assert run.predict(X[:1]).shape == (1,)
    np.testing.assert_array_equal(np.concatenate([run.predict(X[i : i + 1]) for i in range(9)]), run.predict(X[:9]))


# -- two outputs for two classes ------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_classes_as_several(framework: str) -> None:
    words = np.array(["no", "yes"])[TWO]
    run = lk.train(data=(X, words), framework=framework, inline=True, epochs=15, lr=0.01, **{"data.task": "multiclass"})
    assert run.state == "completed", run.status.reason
    assert run.preprocessing.signature.outputs == 2
    assert set(run.predict(X)) == {"no", "yes"}
    bundled = lk.train(data="breast_cancer", framework=framework, inline=True, epochs=2, **{"data.task": "multiclass"})
    assert bundled.state == "completed", bundled.status.reason
    assert bundled.preprocessing.signature.outputs == 2


def test_two_outputs_with_an_explicit_loss_and_batches_of_a_loader() -> None:
    run = trained("torch", "linear", 2, loss="categorical_crossentropy")
    assert run.state == "completed", run.status.reason
    rows = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(TWO))
    loader = functools.partial(torch.utils.data.DataLoader, rows, batch_size=30)
    run = lk.train(data=loader, model=torch_model("linear", 2), inline=True, epochs=10, optimizer="adam", lr=0.01)
    assert run.state == "completed", run.status.reason
    assert run.history["accuracy"].iloc[-1] > 0.8
