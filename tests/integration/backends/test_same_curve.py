"""The same experiment is the same curve: in PyTorch, in TensorFlow, compiled or not, and in plain NumPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy_mlp as reference
import pytest
from sklearn import datasets, preprocessing

import lmkit as lk

STEPS, ROWS, BATCH, SEED = 200, 203, 32, 5  # 7 batches an epoch, the last of 11 rows; 28.6 epochs
WAYS = {
    "torch": {"framework": "torch"},
    "tensorflow": {"framework": "tensorflow", "training.compile": "off"},
    "tensorflow, compiled": {"framework": "tensorflow", "training.compile": "on"},
}
CURVES: dict[str, dict[str, Any]] = {
    "sgd": {"data": "breast_cancer", "hidden": [10], "activation": "relu", "optimizer": {"name": "sgd", "lr": 0.1}},
    "momentum": {
        "data": "digits",
        "hidden": [16],
        "activation": "tanh",
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "schedule": {"name": "step", "every": 9, "factor": 0.3},
    },
    "nesterov": {
        "data": "diabetes",
        "hidden": [12, 6],
        "activation": "gelu",
        "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.8, "nesterov": True},
        "schedule": {"name": "cosine", "warmup": 20, "floor": 0.1},
    },
    "clipped": {
        "data": "digits",
        "hidden": [16, 8],
        "activation": "sigmoid",
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.5},
        "clip_norm": 0.2,
    },
    "linear": {"data": "diabetes", "hidden": [], "activation": "relu", "optimizer": {"name": "sgd", "lr": 0.05}},
    "adam": {
        "data": "breast_cancer",
        "hidden": [8, 8],
        "activation": "gelu",
        "optimizer": {"name": "adam", "lr": 0.003},
    },
    "adam, own numbers": {
        "data": "diabetes",
        "hidden": [10],
        "activation": "relu",
        "optimizer": {"name": "adam", "lr": 0.01, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3},
        "clip_norm": 0.5,
    },
    "adamw": {
        "data": "digits",
        "hidden": [16],
        "activation": "tanh",
        "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
        "schedule": {"name": "cosine", "warmup": 30},
    },
}
COMPILED = ("nesterov", "clipped", "adam")
"""Curves that are compiled, too, which takes seconds."""

LOSS = {"breast_cancer": "binary_crossentropy", "digits": "categorical_crossentropy", "diabetes": "mean_squared_error"}


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of a set, features and a numeric target at mean 0 and deviation 1."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, y = preprocessing.StandardScaler().fit_transform(X[:ROWS]), y[:ROWS]
    return X, (y - y.mean()) / y.std() if name == "diabetes" else y


def rate_factor(schedule: dict[str, Any], step: int) -> float:
    """The learning rate's factor at a step counted from 0, from the schedules' definitions."""
    if schedule["name"] == "step":
        return schedule["factor"] ** (step // 7 // schedule["every"])
    if schedule["name"] == "cosine":
        warmup, floor = schedule["warmup"], schedule.get("floor", 0.0)
        if step < warmup:
            return (step + 1) / warmup
        return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup))) / 2
    return 1.0


def numpy_curve(curve: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, gradient norms and rates of the reference, in float64."""
    X, y = table(curve["data"])
    loss = LOSS[curve["data"]]
    outputs = len(np.unique(y)) if loss == "categorical_crossentropy" else 1
    if outputs == 1:
        y = y.astype(float)[:, None]
    batches = [
        order[i : i + BATCH]
        for epoch in range(29)
        for order in [np.random.default_rng([SEED, 1, epoch]).permutation(ROWS)]
        for i in range(0, ROWS, BATCH)
    ]
    rule = {"momentum": 0.0, "nesterov": False, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8} | curve["optimizer"]
    rates = [rule["lr"] * rate_factor(curve.get("schedule", {"name": "constant"}), t) for t in range(STEPS)]
    losses, norms, _ = reference.train(
        reference.first_weights([X.shape[1], *curve["hidden"], outputs], curve["activation"], SEED),
        X,
        y,
        batches=batches[:STEPS],
        rates=rates,
        activation=curve["activation"],
        loss=loss,
        rule=rule,
        clip_norm=curve.get("clip_norm"),
    )
    return losses, norms, np.array(rates)


def trained(curve: dict[str, Any], way: str, precision: str) -> lk.Run:
    """The run of a curve."""
    run = lk.train(
        {
            "seed": SEED,
            "data": {"scale": "none", "scale_target": False, "validation": 0.0, "test": 0.0, "batch_size": BATCH},
            "model": {"hidden": curve["hidden"], "activation": curve["activation"], "initializer": "he"},
            "training": {
                "steps": STEPS,
                "optimizer": curve["optimizer"],
                "schedule": curve.get("schedule", "constant"),
                "clip_norm": curve.get("clip_norm"),
                "precision": precision,
            },
        },
        data=table(curve["data"]),
        inline=True,
        **WAYS[way],
    )
    assert (run.state, run.status.reason) == ("completed", f"after {STEPS} steps")
    return run


@pytest.mark.parametrize("name", CURVES)
def test_in_float64_all_agree_with_numpy_and_with_each_other(name: str) -> None:
    curve = CURVES[name]
    tolerance = 1e-9 if curve["optimizer"]["name"] == "sgd" else 1e-6
    losses, norms, rates = numpy_curve(curve)
    assert losses[-20:].mean() < 0.9 * losses[:20].mean()  # a curve that goes somewhere
    ways = [way for way in WAYS if "compiled" not in way or name in COMPILED]
    told = {way: trained(curve, way, "float64").steps for way in ways}
    for steps in told.values():
        np.testing.assert_allclose(steps["loss"], losses, rtol=tolerance)
        np.testing.assert_allclose(steps["lr"], rates, rtol=1e-12)
        taken = steps["gradient_norm"].notna()
        assert taken.all() if "clip_norm" in curve else taken.any()
        np.testing.assert_allclose(steps["gradient_norm"][taken], norms[taken], rtol=max(tolerance, 1e-8))
    for one, other in itertools.combinations(ways, 2):
        np.testing.assert_allclose(told[one]["loss"], told[other]["loss"], rtol=tolerance)


@pytest.mark.parametrize(
    ("name", "way"), [("clipped", "torch"), ("adamw", "tensorflow"), ("clipped", "tensorflow, compiled")]
)
def test_in_float32_all_agree_with_numpy(name: str, way: str) -> None:
    losses, _, _ = numpy_curve(CURVES[name])
    np.testing.assert_allclose(trained(CURVES[name], way, "float32").steps["loss"], losses, rtol=1e-3)


def test_another_seed_is_another_curve() -> None:
    same, other = (trained({**CURVES["sgd"]}, "torch", "float64") for _ in range(2))
    np.testing.assert_array_equal(same.steps["loss"], other.steps["loss"])
    changed = lk.train(same.experiment, seed=SEED + 1, inline=True)
    assert not np.allclose(changed.steps["loss"], same.steps["loss"], rtol=1e-3)
