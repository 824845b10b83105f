"""A step in micro-batches: their gradients add up to those of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.backends import Trainer, get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Signature

ROWS, INPUTS, BATCH = 41, 6, 16  # the last batch has 9 rows
STEPS = 6
FRAMEWORKS = pytest.mark.parametrize("framework", ["torch", "tensorflow"])


def build_trainer(framework: str, *, model: dict[str, Any], training: dict[str, Any], loss: str = "") -> Trainer:
    """Return a trainer of a classifier of rows of numbers."""
    backend = get_backend(framework)
    experiment = lk.Experiment(
        framework=framework,
        data={"source": "breast_cancer", "batch_size": BATCH},
        model=model,
        training={"precision": "float64", "compile": "off", **training},
    )
    signature = Signature((INPUTS,), 3)
    draw = np.random.default_rng(4)
    part = Part(draw.normal(size=(ROWS, INPUTS)), draw.integers(0, 3, ROWS))
    built = backend.build(experiment.model, signature, "float64")
    if weights := experiment.model.initial_weights(signature, 3):
        backend.set_weights(built, weights)
    data = Dataset(part, part, part, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
    return backend.trainer(built, experiment, data, loss or "categorical_crossentropy", collect_outputs=True)


def take(trainer: Trainer) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return losses, gradient norms, outputs and the weights of two epochs."""
    parts = []
    for epoch in range(2):
        trainer.epoch(np.random.default_rng(epoch).permutation(ROWS))
        parts.append(trainer.advance(0, np.full(STEPS // 2, 0.05)))
    loss, norm = (np.concatenate([getattr(p, name) for p in parts]) for name in ("loss", "gradient_norm"))
    model = trainer.model  # type: ignore[attr-defined]
    backend = get_backend("torch" if hasattr(model, "state_dict") else "tensorflow")
    return loss, norm, np.concatenate([p.outputs for p in parts if p.outputs is not None]), backend.weights(model)


MODEL = {"family": "mlp", "hidden": [7, 5], "dropout": 0.3, "normalization": "layer"}
TRAINING = {"clip_norm": 0.5, "optimizer": {"name": "adamw", "lr": 0.05}}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """What a step without division computes, by framework."""
    return {name: take(build_trainer(name, model=MODEL, training=TRAINING)) for name in ("torch", "tensorflow")}


@FRAMEWORKS
@pytest.mark.parametrize("rows", [1, 5, 8], ids=str)
def test_micro_batches_of_any_size_equal_the_batch(framework: str, rows: int, whole: dict[str, Any]) -> None:
    trainer = build_trainer(framework, model=MODEL, training={**TRAINING, "micro_batch": rows})
    assert trainer.micro_batch == rows
    loss, norm, outputs, weights = take(trainer)
    expected = whole[framework]
    np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
    np.testing.assert_allclose(norm, expected[1], rtol=1e-12)
    np.testing.assert_allclose(outputs, expected[2], rtol=0, atol=1e-11)
    for name, values in expected[3].items():
        np.testing.assert_allclose(weights[name], values, rtol=0, atol=1e-11, err_msg=name)


@FRAMEWORKS
def test_the_micro_batch_changes_between_steps(framework: str, whole: dict[str, Any]) -> None:
    trainer = build_trainer(framework, model=MODEL, training=TRAINING)
    trainer.epoch(np.random.default_rng(0).permutation(ROWS))
    losses = []
    for i, rows in enumerate((16, 4, 99)):
        trainer.set_micro_batch(rows)
        losses.append(trainer.advance(i, np.array([0.05])).loss)
    np.testing.assert_allclose(np.concatenate(losses), whole[framework][0][:3], rtol=1e-12)
    assert trainer.micro_batch == BATCH
