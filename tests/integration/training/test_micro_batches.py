"""Runs in micro-batches, in 16 bits and compiled: what they log, and which models and losses are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk

FRAMEWORKS = pytest.mark.parametrize("framework", ["torch", "tensorflow"])
ROWS, BATCH = 30, 10


def mean_of_rows(outputs: Any, targets: Any) -> Any:
    """Return one number for a batch of PyTorch."""
    return ((outputs - targets) ** 2).mean()


def sum_of_rows(outputs: Any, targets: Any) -> Any:
    """Return the sum over a batch of PyTorch."""
    return ((outputs - targets) ** 2).sum()


def largest_of_rows(outputs: Any, targets: Any) -> Any:
    """Return the largest loss of a batch of PyTorch."""
    return ((outputs - targets) ** 2).max()


def mean_in_keras(y: Any, z: Any) -> Any:
    """Return one number for a batch of Keras."""
    import tensorflow as tf

    return tf.reduce_mean((y - z) ** 2)


def sum_in_keras(y: Any, z: Any) -> Any:
    """Return the sum over a batch of Keras."""
    import tensorflow as tf

    return tf.reduce_sum((y - z) ** 2)


def largest_in_keras(y: Any, z: Any) -> Any:
    """Return the largest loss of a batch of Keras."""
    import tensorflow as tf

    return tf.reduce_max((y - z) ** 2)


def normalized(features: int) -> Any:
    """Return a module with batch normalization."""
    from torch import nn

    return nn.Sequential(nn.Linear(features, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def normalized_in_keras(features: int) -> Any:
    """Return a Keras model with batch normalization."""
    import keras

    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((features,)), *layers])


def train(framework: str, folder: Path, *, model: Any = None, **training: Any) -> lk.Run:
    """Train on numbers, for one epoch, in this process."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(ROWS, 3))
    return lk.train(
        framework=framework,
        data={"source": (X, X @ [1.0, -2.0, 0.5]), "batch_size": BATCH, "validation": 0.0, "test": 0.0},
        model=model or {"hidden": [4]},
        training={"epochs": 1, "precision": "float64", "readings": "off", **training},
        runs=folder,
        inline=True,
    )


@FRAMEWORKS
@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_a_loss_that_is_one_number_for_a_batch_is_divided(framework: str, kind: str, tmp_path: Path) -> None:
    losses: dict[str, Any] = {
        "torch": {"mean": mean_of_rows, "sum": sum_of_rows},
        "tensorflow": {"mean": mean_in_keras, "sum": sum_in_keras},
    }
    loss = losses[framework][kind]
    runs = [train(framework, tmp_path, loss=loss, micro_batch=rows) for rows in ("auto", 4)]
    first, second = (run.steps for run in runs)
    np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-12)
    np.testing.assert_allclose(second["gradient_norm"].iloc[-1], first["gradient_norm"].iloc[-1], rtol=1e-12)
    assert runs[1].experiment.training.micro_batch == 4
    assert runs[0].experiment.training.micro_batch is None


@FRAMEWORKS
@pytest.mark.parametrize("reason", ["loss", "batch norm"])
def test_what_cannot_be_divided_is_refused(framework: str, reason: str, tmp_path: Path) -> None:
    loss = {"torch": largest_of_rows, "tensorflow": largest_in_keras}[framework]
    model = {"torch": normalized, "tensorflow": normalized_in_keras}[framework]
    changes = {"loss": loss} if reason == "loss" else {}
    run = train(framework, tmp_path, model=model if reason == "batch norm" else None, micro_batch=4, **changes)
    assert run.state == "failed"
    words = {"loss": "neither the mean nor the sum over its rows", "batch norm": "normalizes over the rows"}[reason]
    assert words in run.status.reason


@FRAMEWORKS
def test_float16_reports_its_skipped_steps_and_the_slow_processor(
    framework: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("lmkit.training.setup.describe_slowness", lambda dtype: f"no arithmetic in {dtype}")
    run = train(framework, tmp_path, precision="float16")
    assert run.state == "completed", run.status.reason
    assert run.history["skipped_steps"].sum() == run.steps["skipped"].sum()
    assert (run.steps["loss_scale"] <= 2.0**16).all()
    assert any(event.data.get("text") == "no arithmetic in float16" for event in run.events)


@FRAMEWORKS
def test_a_compiled_run_says_how_long_that_took(framework: str, tmp_path: Path) -> None:
    run = train(framework, tmp_path, compile="on", micro_batch=5)
    assert run.state == "completed", run.status.reason
    compiled = [event for event in run.events if event.type == "compiled"]
    assert len(compiled) == 1
    assert compiled[0].data["seconds"] > 0
    plain = train(framework, tmp_path, compile="off")
    np.testing.assert_allclose(run.steps["loss"], plain.steps["loss"], rtol=1e-10)


def test_without_a_compiler_pytorch_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    run = train("torch", tmp_path, compile="on")
    assert run.state == "failed"
    assert "training.compile: given on, which needs a C++ compiler" in run.status.reason
