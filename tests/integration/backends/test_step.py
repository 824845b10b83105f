"""A step in 16 bits, with recomputed blocks, and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.backends import Trainer, get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.exceptions import ConfigError
from lmkit.specs.signature import Signature

ROWS, LENGTH, VOCABULARY, BATCH, STEPS = 20, 8, 11, 8, 4  # the last batch has 4 rows
TRANSFORMER = {"family": "transformer", "width": 16, "depth": 2, "heads": 2, "dropout": 0.2}
FRAMEWORKS = pytest.mark.parametrize("framework", ["torch", "tensorflow"])


def build(
    framework: str, *, model: Any = None, precision: str = "float32", masked: Any = None, **training: Any
) -> Trainer:
    """Return a trainer of a language model."""
    backend = get_backend(framework)
    experiment = lk.Experiment(
        framework=framework,
        data={"source": "python_docs", "batch_size": BATCH},
        model=model or TRANSFORMER,
        training={"compile": "off", "optimizer": {"name": "sgd", "lr": 0.1}, "precision": precision, **training},
    )
    signature = Signature((LENGTH,), VOCABULARY, vocabulary=VOCABULARY, task="language")
    tokens = np.random.default_rng(4).integers(0, VOCABULARY, (ROWS, LENGTH + 1)).astype(np.int32)
    part = Part(tokens[:, :-1], tokens[:, 1:] if masked is None else np.where(masked, -100, tokens[:, 1:]))
    built = backend.build(experiment.model, signature, experiment.training.weight_dtype)
    backend.set_weights(built, experiment.model.initial_weights(signature, 3))
    data = Dataset(part, part, part, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
    trainer = backend.trainer(built, experiment, data, "categorical_crossentropy")
    trainer.epoch(np.random.default_rng(0).permutation(ROWS))
    return trainer


@FRAMEWORKS
def test_recomputed_blocks_give_the_same_numbers(framework: str) -> None:
    steps, weights, states = [], [], []
    for recompute in ("none", "blocks"):
        trainer = build(framework, recompute=recompute, micro_batch=3, precision="float64")
        steps.append(trainer.advance(0, np.full(3, 0.1)))
        weights.append(get_backend(framework).weights(trainer.model))  # type: ignore[attr-defined]
        states.append(trainer.state())
    exact = {"torch": 0.0, "tensorflow": 1e-13}[framework]  # TensorFlow rewrites sums in the graph of the plain step
    np.testing.assert_allclose(steps[1].loss, steps[0].loss, rtol=exact)
    for name in weights[0]:
        np.testing.assert_allclose(weights[1][name], weights[0][name], rtol=0, atol=exact, err_msg=name)
    assert all(np.array_equal(v, states[1][k]) for k, v in states[0].items() if k.startswith("random"))


@FRAMEWORKS
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_are_close_to_32_with_weights_and_evaluation_in_32(framework: str, precision: str) -> None:
    model = {**TRANSFORMER, "dropout": 0.0}
    plain, half = build(framework, model=model), build(framework, model=model, precision=precision, recompute="blocks")
    a, b = (trainer.advance(0, np.full(3, 0.1)) for trainer in (plain, half))
    assert not np.array_equal(a.loss, b.loss)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-2)
    assert half.outputs("test").dtype == np.float32
    weights = get_backend(framework).weights(half.model)  # type: ignore[attr-defined]
    assert {v.dtype for v in weights.values()} == {np.dtype("float32")}
    assert list(b.columns) == (["loss_scale", "skipped"] if precision == "float16" else [])


@FRAMEWORKS
def test_a_step_whose_gradients_overflow_is_skipped_and_halves_the_scale(framework: str) -> None:
    backend = get_backend(framework)
    trainer = build(framework, model={**TRANSFORMER, "depth": 1}, precision="float16", clip_norm=1.0)
    state = trainer.state()
    trainer.restore(state | {"loss_scale/value": np.float32(2.0**40)})
    before = backend.weights(trainer.model)  # type: ignore[attr-defined]
    steps = trainer.advance(0, np.full(1, 0.1))
    after = backend.weights(trainer.model)  # type: ignore[attr-defined]
    assert steps.columns["skipped"] == [1]
    assert steps.columns["loss_scale"] == [2.0**39]
    assert np.isfinite(steps.loss).all()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    trainer.restore(trainer.state() | {"loss_scale/value": np.float32(2.0**10)})
    steps = trainer.advance(1, np.full(1, 0.1))
    assert steps.columns["skipped"] == [0]
    assert 0 < steps.gradient_norm[0] < 100


def test_the_first_block_of_tensorflow_may_have_a_projection_beside_it() -> None:
    from lmkit.backends.tensorflow.forward import find_segments

    backend, experiment = get_backend("tensorflow"), lk.Experiment(data="digits", model="cnn:residual")
    model = backend.build(experiment.model, Signature((8, 8), 10), "float32")
    segments = find_segments(model)
    assert [is_block for _, is_block in segments] == [True] * 3 + [False]
    rows = z = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    for segment, _ in segments:
        z = segment(z, training=False)
    np.testing.assert_allclose(z, backend.predict(model, rows), rtol=1e-5, atol=1e-6)


@FRAMEWORKS
def test_a_model_without_blocks_cannot_be_recomputed(framework: str) -> None:
    backend = get_backend(framework)
    experiment = lk.Experiment(framework=framework, model={"hidden": [4]}, training={"recompute": "blocks"})
    part = Part(np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32))
    model = backend.build(experiment.model, Signature((3,), 1), "float32")
    with pytest.raises(ConfigError, match=r"training\.recompute: given blocks, but this model has none"):
        backend.trainer(model, experiment, Dataset(part, part, part, None), "binary_crossentropy")  # type: ignore[arg-type]


@FRAMEWORKS
@pytest.mark.parametrize("rows", [None, 3], ids=["whole batch", "micro-batches"])
def test_masked_places_do_not_count(framework: str, rows: int | None) -> None:
    """The loss is the sum over the places that count by their number, whatever micro-batch they lie in."""
    draw = np.random.default_rng(7)
    masked = draw.random((ROWS, LENGTH)) < 0.4
    order = np.random.default_rng(0).permutation(ROWS)
    masked[order[:4]] = True  # more than a micro-batch without a place that counts
    masked[order[BATCH : 2 * BATCH]] = True  # a batch without one
    model = {**TRANSFORMER, "dropout": 0.0, "depth": 1}
    trainer = build(framework, model=model, precision="float64", masked=masked, micro_batch=rows)
    outputs = trainer.outputs("training")
    steps = trainer.advance(0, np.zeros(3))

    log_sums = np.log(np.exp(outputs).sum(-1))
    tokens = np.random.default_rng(4).integers(0, VOCABULARY, (ROWS, LENGTH + 1))[:, 1:]
    losses = np.where(masked, 0.0, log_sums - np.take_along_axis(outputs, tokens[..., None], -1)[..., 0])
    batches = [order[i : i + BATCH] for i in range(0, ROWS, BATCH)]
    counts = np.array([(~masked[batch]).sum() for batch in batches])
    sums = np.array([losses[batch].sum() for batch in batches])
    np.testing.assert_allclose(steps.loss, sums / np.maximum(counts, 1), rtol=1e-12)
    assert steps.loss[1] == 0
    assert steps.gradient_norm[-1] > 0
    total = np.sum(steps.loss_sums[0]) / np.sum(steps.loss_sums[1])
    np.testing.assert_allclose(total, losses.sum() / (~masked).sum(), rtol=1e-12)
    np.testing.assert_allclose(trainer.losses("test").total.mean, losses.sum() / (~masked).sum(), rtol=1e-12)
