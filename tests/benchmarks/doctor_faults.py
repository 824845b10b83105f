"""Planted faults beside healthy runs: ``python tests/benchmarks/doctor_faults.py [--framework torch] [--only NAME]``.

Each experiment with a fault names the checks that are right about it; the healthy ones must not be called ill. Printed
are, for each run, what the doctor says first, and a table: found (the right check is sure or likely), first (it is the
first in the list), missed, wrong sure findings beside the right one, and false findings in healthy runs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn import datasets

import lmkit as lk
from lmkit.doctor.finding import Finding

Data = tuple[np.ndarray, np.ndarray]
"""Features and target."""


@dataclass(frozen=True)
class Case:
    """An experiment.

    Attributes:
        name: of the case.
        right: the checks of which one is right about it; none for a healthy run.
        settings: of the experiment; a model, a loss or data may be a function of the framework's name.
    """

    name: str
    right: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)


def clouds() -> Data:
    return datasets.make_blobs(900, 8, centers=4, cluster_std=2.5, random_state=0)


def circles() -> Data:
    return datasets.make_circles(600, noise=0.08, factor=0.5, random_state=0)


def moons() -> Data:
    return datasets.make_moons(600, noise=0.15, random_state=1)


def digits(rows: int | None = None) -> Data:
    X, y = datasets.load_digits(return_X_y=True)
    return (X / 16)[:rows], y[:rows]


def unscaled() -> Data:
    X, y = clouds()
    return X * np.array([1e4, 3e3, 1, 1, 1, 1, 1, 1]), y


def far_target() -> Data:
    X, y = datasets.load_diabetes(return_X_y=True)
    return X, y * 1e4


def permuted() -> Data:
    X, y = digits()
    return X, _generator().permutation(y)


def mislabeled() -> Data:
    X, y = digits()
    generator = _generator()
    wrong = generator.random(len(y)) < 0.35
    return X, np.where(wrong, generator.integers(0, 10, len(y)), y)


def rare() -> Data:
    X, y = datasets.make_classification(1500, 10, weights=[0.974], flip_y=0, class_sep=0.6, random_state=0)
    return X, y


def leaking() -> Data:
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return np.column_stack([X, y + 0.01 * _generator().normal(size=len(y))]), y


def repeated() -> Data:
    X, y = datasets.load_wine(return_X_y=True)
    return np.tile(X, (4, 1)), np.tile(y, 4)


def wide() -> Data:
    generator = _generator()
    X = generator.normal(size=(120, 60))
    return X, (X[:, 0] + X[:, 1] + 0.8 * generator.normal(size=120) > 0).astype(int)


def sequences() -> Data:
    generator = _generator()
    X = generator.normal(size=(600, 40, 2))
    return X, (X.mean((1, 2)) > 0).astype(int)


def memory() -> Data:
    """Sequences whose class is the sign of the first place."""
    X, _ = sequences()
    return X, (X[:, 0, 0] > 0).astype(int)


def regression() -> Data:
    return datasets.load_diabetes(return_X_y=True)


def wine() -> Data:
    return datasets.load_wine(return_X_y=True)


def adam(lr: float) -> dict[str, Any]:
    return {"name": "adam", "lr": lr}


def sgd(lr: float) -> dict[str, Any]:
    return {"name": "sgd", "lr": lr}


def mlp(*hidden: int, **options: Any) -> dict[str, Any]:
    return {"hidden": list(hidden), **options}


# -- custom models --------------------------------------------------------------------------------


def torch_model(kind: str) -> Callable[..., Any]:
    """Return a builder of a custom PyTorch model."""

    def build(features: int, outputs: int) -> Any:
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                width = 32
                self.body = nn.Sequential(
                    nn.Linear(features, width),
                    nn.BatchNorm1d(width) if kind == "norm" else nn.Identity(),
                    nn.Identity() if kind == "linear" else nn.ReLU(),
                    nn.Linear(width, width),
                    nn.Identity() if kind == "linear" else nn.ReLU(),
                )
                self.head = nn.Linear(width, outputs)
                if kind == "zeros":
                    for p in self.parameters():
                        nn.init.zeros_(p)
                if kind == "exploding":
                    self.body = nn.Sequential(
                        *(m for i in range(6) for m in (nn.Linear(features if not i else 64, 64), nn.ReLU()))
                    )
                    self.head = nn.Linear(64, outputs)
                    for p in self.parameters():
                        nn.init.normal_(p)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                h = self.body(x)
                if kind == "detached":
                    h = h.detach()
                if kind == "mixing":
                    h = h.softmax(0)
                z = self.head(h)
                if kind == "softmax":
                    return z.softmax(1) * 1.0
                if kind == "sigmoid":
                    return z.sigmoid() * 1.0
                return z.relu() if kind == "relu" else z

        return Model()

    return build


def keras_model(kind: str) -> Callable[..., Any]:
    """Return a builder of the same model in Keras."""

    def build(features: int, outputs: int) -> Any:
        import keras

        L = keras.layers
        depth, width = (6, 64) if kind == "exploding" else (2, 32)
        start = {"zeros": "zeros", "exploding": keras.initializers.RandomNormal(stddev=1.0)}.get(kind, "glorot_uniform")
        x = x_in = keras.Input((features,))
        for i in range(depth):
            x = L.Dense(width, kernel_initializer=start)(x)
            if kind == "norm" and not i:
                x = L.BatchNormalization()(x)
            x = x if kind == "linear" else L.ReLU()(x)
        if kind == "detached":
            x = L.Lambda(keras.ops.stop_gradient)(x)
        if kind == "mixing":
            x = L.Lambda(lambda v: keras.ops.softmax(v, axis=0))(x)
        x = L.Dense(outputs, kernel_initializer=start)(x)
        if kind in ("softmax", "sigmoid", "relu"):
            x = L.Activation(kind)(x)
            x = x if kind == "relu" else L.Lambda(lambda v: v * 1.0)(x)
        return keras.Model(x_in, x)

    return build


def model(kind: str) -> Callable[[str], Any]:
    return lambda framework: torch_model(kind) if framework == "torch" else keras_model(kind)


def recurrent(gain: float) -> Callable[[str], Any]:
    """Return builders of a plain recurrence, whose weights are ``gain`` times an orthogonal matrix."""

    def build_torch(outputs: int) -> Any:
        import torch
        from torch import nn

        class Recurrence(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.rnn, self.head = nn.RNN(2, 24, nonlinearity="relu", batch_first=True), nn.Linear(24, outputs)
                nn.init.orthogonal_(self.rnn.weight_hh_l0, gain)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.rnn(x)[0][:, -1])

        return Recurrence()

    def build_keras(outputs: int) -> Any:
        import keras

        start = keras.initializers.Orthogonal(gain)
        return keras.Sequential(
            [
                keras.Input((40, 2)),
                keras.layers.SimpleRNN(24, activation="relu", recurrent_initializer=start),
                keras.layers.Dense(outputs),
            ]
        )

    return lambda framework: build_torch if framework == "torch" else build_keras


def loss(kind: str) -> Callable[[str], Any]:
    """Return a custom loss of a framework."""

    def torch_loss(z: Any, y: Any) -> Any:
        from torch.nn import functional as F

        if kind == "negated":
            return -F.cross_entropy(z, y)
        if kind == "naive":
            return -(z.softmax(1)[range(len(y)), y]).log().mean()
        return ((z - y[:, 0]) ** 2).mean()

    def keras_loss(y: Any, z: Any) -> Any:
        import tensorflow as tf

        if kind == "negated":
            return -tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
        if kind == "naive":
            return -tf.reduce_mean(tf.math.log(tf.gather(tf.nn.softmax(z), y, batch_dims=1)))
        return tf.reduce_mean((z - y[:, 0]) ** 2)

    return lambda framework: torch_loss if framework == "torch" else keras_loss


BASE: dict[str, Any] = {"model": mlp(64, 64), "training": {"epochs": 20, "optimizer": adam(1e-3)}}


def case(name: str, *right: str, data: Any = digits, model: Any = None, batch: int = 32, **training: Any) -> Case:
    spec = {"epochs": 20, "optimizer": adam(1e-3), **training}
    extra = spec.pop("data_options", {})
    return Case(name, right, {"data": data, "batch": batch, "options": extra, "model": model or mlp(64, 64)} | spec)


FAULTS = [
    case("rate too high", "rate-high", optimizer=sgd(50.0)),
    case("rate too high, diverges", "rate-high", data=regression, optimizer=sgd(2.0)),
    case("rate too low", "rate-low", optimizer=sgd(1e-5)),
    case("schedule dies", "schedule-ends", optimizer=sgd(0.01), schedule={"name": "step", "every": 1, "factor": 0.1}),
    case("clip far too low", "clip-low", optimizer=sgd(0.05), clip_norm=0.001),
    case(
        "vanishing",
        "vanishing",
        data="breast_cancer",
        model=mlp(*[10] * 6, activation="sigmoid"),
        optimizer=sgd(0.05),
        epochs=40,
    ),
    case("exploding recurrence", "exploding", data=sequences, model=recurrent(1.7), epochs=5),
    case("exploding start", "exploding", data=clouds, model=model("exploding"), epochs=5),
    case("dead units", "dead-units", "rate-high", data=clouds, model=mlp(32, 32, 32), optimizer=adam(0.5)),
    case(
        "saturated",
        "saturated",
        "unscaled-inputs",
        data=lambda: (clouds()[0] * 100, clouds()[1]),
        model=mlp(32, 32, activation="tanh"),
        optimizer=sgd(0.01),
        epochs=10,
        data_options={"scale": "none"},
    ),
    case("unscaled columns", "unscaled-inputs", data=unscaled, optimizer=sgd(0.01), data_options={"scale": "none"}),
    case("unscaled target", "unscaled-target", data=far_target, data_options={"scale_target": False}),
    case("softmax twice", "squashed-twice", model=model("softmax")),
    case("sigmoid twice", "squashed-twice", data="breast_cancer", model=model("sigmoid")),
    case("sigmoid on numbers", "bounded-output", data=regression, model=model("sigmoid")),
    case("relu on numbers", "bounded-output", data=regression, model=model("relu")),
    case("permuted labels", "no-signal", data=permuted, epochs=60),
    case("wrong labels", "label-noise", data=mislabeled),
    case("rare positives", "imbalance", data=rare),
    case("target as a column", "leakage", data=leaking),
    case("repeated rows", "leakage", "duplicates", data=repeated),
    case("more columns than rows", "overfit", data=wide, epochs=150, optimizer=adam(0.003)),
    case("circles with a line", "underfit", data=circles, model=mlp()),
    case("two linear layers", "no-bend", data=circles, model=model("linear")),
    case("three epochs", "unfinished", epochs=3, optimizer=sgd(0.05)),
    case("one batch", "few-steps", data=lambda: digits(400), batch=1000, epochs=10, optimizer=sgd(0.01)),
    case("tiny validation", "validation-small", data=wine, data_options={"validation": 0.04}),
    case("detached body", "no-gradient", model=model("detached")),
    case("rows mixed", "rows-mixed", model=model("mixing")),
    case("batch norm over two", "batch-norm-small", data=lambda: digits(600), model=model("norm"), batch=2, epochs=5),
    case("all weights 0", "zero-start", model=model("zeros")),
    case(
        "naive log",
        "nan",
        data=lambda: (clouds()[0] * 40, clouds()[1]),
        model=model("plain"),
        loss=loss("naive"),
        data_options={"scale": "none"},
        epochs=5,
    ),
    case("negated loss", "wrong-sign", model=model("plain"), loss=loss("negated"), epochs=4, optimizer=sgd(0.03)),
    case("broadcast loss", "dealt-targets", data=regression, model=model("plain"), loss=loss("broadcast")),
    case("dropout .95", "dropout-strong", model=mlp(64, 64, dropout=0.95)),
    case("weight decay 30", "decay-strong", optimizer={"name": "adamw", "lr": 1e-3, "weight_decay": 30.0}),
]
"""The planted faults."""

HEALTHY = [
    case("digits"),
    case("digits, sgd", optimizer=sgd(0.1)),
    case("digits, wide", model=mlp(256, 256)),
    case("digits, tanh", model=mlp(64, 64, activation="tanh")),
    case("digits, dropout", model=mlp(128, 128, dropout=0.3), epochs=40),
    case("digits, cnn", data="digits", model="cnn", epochs=8),
    case("digits, residual", model=mlp(64, 64, 64, 64, residual=True)),
    case("digits, own", model=model("plain")),
    case("digits, batch norm", model=model("norm")),
    case("digits, cosine", schedule="cosine", optimizer=sgd(0.1)),
    case("digits, clipped", optimizer=sgd(0.1), clip_norm=1.0),
    case("wine", data="wine", epochs=40),
    case("cancer", data="breast_cancer"),
    case("cancer, sigmoid", data="breast_cancer", model=mlp(16, activation="sigmoid"), epochs=60, optimizer=adam(0.01)),
    case("diabetes", data=regression, model=mlp(32), epochs=40),
    case("diabetes, linear", data=regression, model=mlp(), epochs=40, optimizer=adam(0.01)),
    case("clouds", data=clouds, optimizer=adam(0.003)),
    case("circles", data=circles, optimizer=adam(0.01)),
    case("moons", data=moons, optimizer=adam(0.01), epochs=40),
    case("sequences", data=sequences, model=recurrent(1.0), optimizer=adam(0.003), epochs=20),
]
"""Runs in which nothing is wrong."""


def diagnose(item: Case, framework: str, seed: int, runs: str) -> tuple[list[Finding], str]:
    """Train a case and return the findings, and how the run ended."""
    settings = dict(item.settings)
    source, options, batch, spec = (settings.pop(name) for name in ("data", "options", "batch", "model"))
    settings = {name: value(framework) if name == "loss" else value for name, value in settings.items()}
    spec = spec(framework) if callable(spec) else spec
    changes = {f"data.{name}": value for name, value in {"batch_size": batch, **options}.items()}
    if item.right and "squashed-twice" in item.right:
        changes["model.outputs"] = "logits"
    run = lk.train(
        data=source() if callable(source) else source,
        model=spec,
        framework=framework,
        seed=seed,
        runs=runs,
        inline=True,
        checkpoint_seconds=1e6,
        **settings,
        **changes,
    )
    return list(run.doctor().findings), run.state


def main() -> None:
    """Train all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", choices=["torch", "tensorflow"], action="append")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for framework in args.framework or ["torch", "tensorflow"]:
        counts = dict.fromkeys(("faults", "found", "first", "wrong sure", "healthy", "false sure", "false likely"), 0)
        for item in [*FAULTS, *HEALTHY]:
            if args.only and args.only not in item.name:
                continue
            for seed in range(args.seeds):
                with tempfile.TemporaryDirectory() as runs:
                    findings, state = diagnose(item, framework, seed, runs)
                loud = [f for f in findings if f.confidence != "hint"]
                inside = {f.check for f in loud} | {c.check for f in loud for c in f.consequences}
                if item.right:
                    is_found = bool(inside & set(item.right))
                    is_first = bool(loud) and loud[0].check in item.right
                    wrong = [f.check for f in loud if f.confidence == "sure" and f.check not in item.right]
                    counts["faults"] += 1
                    counts["found"] += is_found
                    counts["first"] += is_first
                    counts["wrong sure"] += bool(wrong)
                    mark = "found" if is_first else "later" if is_found else "MISSED"
                else:
                    counts["healthy"] += 1
                    is_sure = any(f.confidence == "sure" for f in loud)
                    counts["false sure"] += is_sure
                    counts["false likely"] += bool(loud) and not is_sure
                    mark = "FALSE" if is_sure else "likely" if loud else "quiet"
                said = "; ".join(f"{f.check} ({f.confidence})" for f in findings) or "nothing"
                print(f"{framework:10} {item.name:26} {state:9} {mark:6} {said}", flush=True)
        print(framework, counts, flush=True)


if __name__ == "__main__":
    main()
