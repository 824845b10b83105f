"""Thirty experiments modelled on public reports of training that failed, each with the cause that people found.

Data, models and losses were written anew, as small as the fault allows; the checks were not tuned on them. ``right``
names the checks that say what the answer there says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn import datasets

from tests.benchmarks import doctor_data as D
from tests.benchmarks.doctor_cases import BY_DAY, UNSCALED, Case, adam, case, mlp, sgd, steps
from tests.benchmarks.doctor_models import Builder, loss, model, recurrent

STACKS = "https://stats.stackexchange.com/"
SCIENCE = "https://datascience.stackexchange.com/questions/"
OVERFLOW = "https://stackoverflow.com/questions/"
GITHUB = "https://github.com/"
OWN_UNITS: dict[str, Any] = {"scale": "none", "scale_target": False}


def report(name: str, address: str, cause: str, *right: str, **settings: Any) -> Case:
    """Return a case that is modelled on a public report."""
    return replace(case(name, *right, **settings), address=address, cause=cause)


def stack(*layers: int | str | None) -> Builder:
    """Return builders of layers in sequence: a width, None for the outputs, an activation, or a softmax over rows."""

    def build_torch(features: int, outputs: int) -> Any:
        return _torch_stack(layers, features, outputs)

    def build_keras(features: int, outputs: int) -> Any:
        return _keras_stack(layers, features, outputs)

    return lambda framework: build_torch if framework == "torch" else build_keras


def _torch_stack(layers: tuple[int | str | None, ...], features: int, outputs: int) -> Any:
    from torch import nn

    modules: list[Any] = []
    for layer in layers:
        if layer is None or isinstance(layer, int):
            modules.append(nn.Linear(features, layer or outputs))
            features = layer or outputs
        elif layer == "softmax over rows":
            modules.append(nn.Softmax(dim=0))
        else:
            modules.append({"relu": nn.ReLU, "tanh": nn.Tanh}[layer]())
    return nn.Sequential(*modules)


def _keras_stack(layers: tuple[int | str | None, ...], features: int, outputs: int) -> Any:
    import keras

    modules: list[Any] = [keras.Input((features,))]
    for layer in layers:
        if layer is None or isinstance(layer, int):
            modules.append(keras.layers.Dense(layer or outputs))
        elif layer == "softmax over rows":
            modules.append(keras.layers.Lambda(lambda v: keras.ops.softmax(v, axis=0)))
        else:
            modules.append(keras.layers.Activation(layer))
    return keras.Sequential(modules)


def own_loss(kind: str) -> Builder:
    """Return a custom loss with a fault: focal without an epsilon, a root of 0, or outputs without their axis."""

    def torch_loss(z: Any, y: Any) -> Any:
        y = y.reshape(z.shape).to(z.dtype)
        if kind == "focal":
            p = z.sigmoid()
            return -((1 - p) ** 2 * y * p.log() + p**2 * (1 - y) * (1 - p).log()).mean()
        if kind == "root":
            return ((z - y) ** 2).mean() + 0.01 * ((z * (z > 0)) ** 2).sqrt().mean()
        return ((z[:, 0] - y) ** 2).mean()

    def keras_loss(y: Any, z: Any) -> Any:
        import tensorflow as tf

        y = tf.reshape(tf.cast(y, z.dtype), tf.shape(z))
        if kind == "focal":
            p = tf.sigmoid(z)
            return -tf.reduce_mean((1 - p) ** 2 * y * tf.math.log(p) + p**2 * (1 - y) * tf.math.log(1 - p))
        if kind == "root":
            positive = z * tf.cast(z > 0, z.dtype)
            return tf.reduce_mean((z - y) ** 2) + 0.01 * tf.reduce_mean(tf.sqrt(positive**2))
        return tf.reduce_mean((z[:, 0] - y) ** 2)

    return lambda framework: torch_loss if framework == "torch" else keras_loss


def bits(seed: int) -> D.Data:
    """Binary vectors, and a real number that depends on pairs of bits."""
    generator = np.random.default_rng(seed)
    X = generator.integers(0, 2, (900, 12)).astype(float)
    return X, (X[:, :6] * X[:, 6:]) @ generator.normal(size=6)


def exclusive_or(seed: int) -> D.Data:
    """The corners of a square, each many times, and 1 where one coordinate is 1, as a number."""
    X = np.random.default_rng(seed).integers(0, 2, (800, 2)).astype(float)
    return X, np.abs(X[:, 0] - X[:, 1]) + 1e-6 * np.random.default_rng(seed).normal(size=800)


def curve(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, rows: int = 800) -> D.Source:
    """Return a function of one number, at places that are drawn."""

    def drawn(seed: int) -> D.Data:
        x = np.random.default_rng(seed).uniform(low, high, rows)
        return x[:, None], function(x)

    return drawn


def points(seed: int) -> D.Data:
    """Points of the plane in four clusters."""
    return datasets.make_blobs(400, 2, centers=4, cluster_std=1.0, random_state=seed)


def hard(seed: int, rows: int, columns: int, classes: int = 2, informative: int = 4, **options: Any) -> D.Data:
    return datasets.make_classification(
        rows, columns, n_informative=informative, n_redundant=0, n_classes=classes, random_state=seed, **options
    )


def latch(seed: int) -> D.Data:
    """Sequences that begin with 1 or -1 and go on with noise; the class is how they begin."""
    generator = np.random.default_rng(seed)
    X = 0.3 * generator.normal(size=(600, 40, 2))
    y = generator.integers(0, 2, 600)
    X[:, 0, :] = (2 * y - 1)[:, None]
    return X, y


def derived(seed: int) -> D.Data:
    """A table with a column that was computed from the target."""
    X, y = D.regression(seed)
    return np.column_stack([X, np.round(y / 5) * 5]), y


def in_order(seed: int) -> Any:
    """Wine sorted by its class, so that the last rows are of a class of their own."""
    import pandas as pd

    X, y = D.wine(seed)
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    return frame.assign(day=pd.date_range("2024-01-01", periods=len(y)), target=[f"c{i}" for i in y])


def other_labels(seed: int) -> Any:
    """Parts of which validation and test number their classes in another order than training."""
    parts = D.slow_batches(0.0)(seed)
    order = np.roll(np.arange(10), 3)
    return parts | {name: [(X, order[y]) for X, y in parts[name]] for name in ("validation", "test")}


def zeros(seed: int) -> D.Data:
    """Digits, divided by their largest value as whole numbers: all 0."""
    X, y = datasets.load_digits(return_X_y=True)
    return X.astype(int) // 17, y


def listed(seed: int) -> D.Data:
    """Digits with labels that were listed in another order than the images."""
    X, y = D.digits(seed)
    return X, y[np.argsort([str(i) for i in np.random.default_rng(seed).permutation(len(y))])]


def ratings(seed: int) -> D.Data:
    """Numbers from 0 to 16 that mostly follow from the features."""
    X = np.random.default_rng(seed).normal(size=(500, 8))
    return X, np.clip(8 + 3 * X[:, 0] - 2 * X[:, 1] * X[:, 2], 0, 16)


def line(seed: int) -> D.Data:
    X = np.random.default_rng(seed).normal(size=(600, 5))
    return X, X @ np.arange(1.0, 6.0)


PUBLIC = [
    report(
        "softmax of one output",
        STACKS + "revisions/2bda6552-783b-4fb7-ba2b-a03d2266e69b/view-source",
        "the softmax of one output is always 1",
        "squashed-twice",
        data=D.cancer,
        model=model("softmax"),
        **{"model.outputs": "auto"},
    ),
    report(
        "softmax before cross-entropy",
        "https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16",
        "the loss takes logits and applies the softmax itself",
        "squashed-twice",
        data=D.digits,
        model=model("softmax"),
        optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9},
    ),
    report(
        "four sigmoid layers",
        "https://ai.stackexchange.com/questions/16557",
        "the gradient vanishes through four layers of sigmoids",
        "vanishing",
        data=bits,
        model=mlp(100, 100, 100, 100, activation="sigmoid"),
        optimizer=sgd(0.01),
        epochs=15,
    ),
    report(
        "exclusive or",
        STACKS + "questions/433365",
        "no activation after the first layer, a rectified output, few epochs",
        "bounded-output",
        "dead-units",
        "no-bend",
        data=exclusive_or,
        model=stack(2, 2, "relu", None, "relu"),
        optimizer=sgd(0.01),
        epochs=5,
        options=OWN_UNITS,
    ),
    report(
        "rectified sine",
        SCIENCE + "28191",
        "a rectified output cannot be negative; inputs reach 314",
        "bounded-output",
        "unscaled-inputs",
        data=curve(np.sin, 0, 314),
        model=stack(1, "relu", 100, "relu", None, "relu"),
        optimizer=sgd(0.01),
        options=OWN_UNITS,
    ),
    report(
        "sine of a wide range",
        OVERFLOW + "46995209",
        "inputs are not scaled",
        "unscaled-inputs",
        "saturated",
        data=curve(np.sin, 0, 60),
        model=mlp(30, 30, 30, activation="tanh"),
        options=UNSCALED,
    ),
    report(
        "fourth power",
        OVERFLOW + "52800582",
        "inputs reach 100 and targets 1e8",
        "unscaled-target",
        "unscaled-inputs",
        data=curve(lambda x: x**4, -100, 100),
        model=mlp(50, 50, activation="sigmoid"),
        options=OWN_UNITS,
    ),
    report(
        "network that falls to chance",
        SCIENCE + "28481",
        "the learning rate is too high",
        "rate-high",
        "dead-units",
        data="digits",
        model="cnn",
        optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.9},
        epochs=6,
    ),
    report(
        "four narrow layers, rate .5",
        STACKS + "questions/420006",
        "the learning rate is too high for raw inputs",
        "rate-high",
        "dead-units",
        "unscaled-inputs",
        data=points,
        model=mlp(10, 10, 10, 10),
        optimizer=sgd(0.5),
        options=UNSCALED,
    ),
    report(
        "four narrow layers, rate .001",
        STACKS + "questions/420006",
        "the learning rate is too low for so few steps",
        "rate-low",
        "unfinished",
        "few-steps",
        data=points,
        model=mlp(10, 10, 10, 10),
        optimizer=sgd(0.001),
    ),
    report(
        "one in nine",
        SCIENCE + "19283",
        "classes are rare and hard: only the share is learned",
        "imbalance",
        data=partial(hard, rows=2000, columns=20, informative=2, weights=[0.884], class_sep=0.3, flip_y=0.05),
        model=mlp(8, 8, 8),
        epochs=20,
    ),
    report(
        "rectified line",
        "https://community.deeplearning.ai/t/loss-values-do-not-change/324182",
        "the output is rectified, and a few units die",
        "bounded-output",
        "dead-units",
        data=curve(lambda x: 2 * x - 1, -3, 5, rows=200),
        model=stack(4, "relu", 2, "relu", None, "relu"),
        epochs=60,
        options=OWN_UNITS,
    ),
    report(
        "latch of a plain recurrence",
        STACKS + "questions/340898",
        "the gradient vanishes over the places of the sequence",
        "vanishing-in-time",
        data=latch,
        model=recurrent(0.5, "tanh"),
        epochs=8,
    ),
    report(
        "focal loss",
        GITHUB + "mkocabas/focal-loss-keras/issues/17",
        "logarithm of 0",
        "nan",
        "unscaled-inputs",
        "autopsy",
        data=D.times(D.cancer, 10),
        model=model("plain"),
        loss=own_loss("focal"),
        options=UNSCALED,
        epochs=10,
    ),
    report(
        "root of 0",
        GITHUB + "mpariente/pytorch_stoi/pull/14",
        "the gradient of a root at 0",
        "nan",
        "autopsy",
        data=D.regression,
        model=model("plain"),
        loss=own_loss("root"),
        epochs=10,
    ),
    report(
        "derived column",
        "https://zeupark.github.io/2025/05/26/overfitting-debug-log.html",
        "a column was computed from the target",
        "leakage",
        data=derived,
        epochs=40,
    ),
    report(
        "few rows of validation",
        GITHUB + "hthuwal/sign-language-gesture-recognition/issues/31",
        "few rows of validation give a high accuracy",
        "validation-small",
        data=partial(hard, rows=150, columns=10),
        options={"validation": 0.04},
        epochs=40,
    ),
    report(
        "rows in the order of classes",
        GITHUB + "keras-team/keras/issues/3894",
        "validation is the last rows, of data that are sorted",
        "unseen",
        "parts-differ",
        data=in_order,
        options=BY_DAY,
        epochs=40,
    ),
    report(
        "accuracy .98 beside .6",
        GITHUB + "keras-team/keras-tuner/issues/167",
        "overfitting",
        "overfit",
        data=partial(hard, rows=300, columns=60, informative=6, flip_y=0.2),
        model=mlp(256, 256),
        epochs=60,
    ),
    report(
        "646 rows",
        GITHUB + "anujshah1003/own_data_cnn_implementation_keras/issues/7",
        "overfitting",
        "overfit",
        data=partial(hard, rows=646, columns=100, classes=4, informative=8, flip_y=0.05),
        epochs=60,
    ),
    report(
        "batch norm of two rows",
        GITHUB + "tensorflow/tensorflow/issues/36446",
        "batch normalization sees two rows",
        "batch-norm-small",
        data=D.moons,
        model=model("norm"),
        batch=2,
        epochs=5,
    ),
    report(
        "too few steps",
        GITHUB + "thtrieu/darkflow/issues/1157",
        "it needed some times as many steps",
        "unfinished",
        "few-steps",
        "rate-low",
        data=partial(D.digits, rows=900),
        optimizer=sgd(0.01),
        epochs=8,
    ),
    report(
        "column against a row",
        GITHUB + "pytorch/pytorch/issues/16045",
        "(n, 1) minus (n,) is a table of all pairs",
        "dealt-targets",
        data=line,
        model=model("plain"),
        loss=loss("broadcast"),
    ),
    report(
        "outputs without their axis",
        GITHUB + "deepset-ai/FARM/issues/229",
        "(n,) minus (n, 1) is a table of all pairs",
        "dealt-targets",
        data=ratings,
        model=model("plain"),
        loss=own_loss("squeezed"),
    ),
    report(
        "softmax over the batch",
        GITHUB + "ctallec/world-models/issues/10",
        "the softmax is over the rows of the batch",
        "rows-mixed",
        data=D.wine,
        model=stack(32, "relu", 16, "softmax over rows", None),
        epochs=40,
    ),
    report(
        "schedule by steps",
        GITHUB + "leftthomas/SRGAN/issues/94",
        "the schedule falls with every step where every epoch was meant",
        "schedule-ends",
        data=D.regression,
        optimizer=sgd(0.01),
        schedule=steps(1, 0.05),
    ),
    report(
        "pixels up to 255",
        GITHUB + "keras-team/keras/issues/2711",
        "pixels are not divided by 255",
        "unscaled-inputs",
        data=D.times(D.digits, 255),
        optimizer=sgd(0.1),
        options=UNSCALED,
    ),
    report(
        "pixels divided as whole numbers",
        GITHUB + "keras-team/keras/issues/255",
        "all inputs are 0",
        "constant-inputs",
        "no-signal",
        data=zeros,
    ),
    report(
        "labels in another order",
        GITHUB + "NoahVl/Explaining-In-Style-Reproducibility-Study/issues/9",
        "images and labels are listed in different orders",
        "no-signal",
        data=listed,
        epochs=60,
    ),
    report(
        "classes numbered anew",
        GITHUB + "uzh-rpg/rpg_event_representation_learning/issues/2",
        "training and validation number the classes differently",
        "parts-differ",
        "label-noise",
        data=other_labels,
        epochs=15,
        optimizer=adam(0.003),
    ),
]
"""The reports."""
