"""Batches from the host are those that the device would have gathered: the same curve, wherever one begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lmkit as lk
from lmkit.backends import Backend, Trainer, get_backend
from lmkit.data.batches import GatheredBatches, Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Signature

ROWS, BATCH, RATES = 43, 8, np.full(6, 0.05)  # the last batch of an epoch has 3 rows
SIGNATURE = Signature((5,), 3)


@pytest.fixture(params=["torch", "tensorflow"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def part() -> Part:
    draw = np.random.default_rng(1)
    return Part(draw.normal(size=(ROWS, 5)), draw.integers(0, 3, ROWS))


def mapped(folder: Path, given: Part) -> Part:
    """The same rows, in files."""
    arrays = []
    for name, values in zip("Xy", given, strict=True):
        np.save(folder / f"{name}.npy", values)
        arrays.append(np.load(folder / f"{name}.npy", mmap_mode="r"))
    return Part(*arrays)


def trainer(backend: Backend, training: Part, batches: GatheredBatches | None = None) -> Trainer:
    spec = lk.Experiment(
        data={"source": "a.npz", "batch_size": BATCH}, model={"hidden": [7]}, training={"precision": "float64"}
    )
    model = backend.build(spec.model, SIGNATURE, "float64")
    backend.set_weights(model, spec.model.initial_weights(SIGNATURE, 3))
    small = part()
    made = backend.trainer(model, spec, Dataset(training, small, small, None, batches), "categorical_crossentropy")  # type: ignore[arg-type]
    made.epoch(np.random.default_rng(2).permutation(ROWS), 4)
    return made


def test_rows_mapped_from_files_give_the_curve_of_rows_in_memory(backend: Backend, tmp_path: Path) -> None:
    rows = mapped(tmp_path, part())
    resident = trainer(backend, part())
    fed = trainer(backend, rows, GatheredBatches(rows, BATCH))
    expected = resident.advance(0, RATES)
    np.testing.assert_allclose(fed.advance(0, RATES).loss, expected.loss, rtol=1e-12)
    np.testing.assert_allclose(fed.outputs("training", 9), resident.outputs("training", 9), rtol=1e-10)
    some = np.array([3, 1, 40])
    for name, gradient in resident.gradients(some).items():
        np.testing.assert_allclose(fed.gradients(some)[name], gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("pieces", [[1, 1, 1, 1, 1, 1], [4, 2], [2, 4]])
def test_what_is_done_to_a_batch_depends_on_its_place_alone(backend: Backend, pieces: list[int]) -> None:
    seen: list[np.ndarray] = []

    def shifted(given: Part, draw: np.random.Generator) -> Part:
        changed = Part(given.X + draw.normal(size=given.X.shape), given.y)
        seen.append(changed.X)
        return changed

    made = trainer(backend, part(), GatheredBatches(part(), BATCH, shifted, seed=7))
    first, losses = 0, []
    for n in pieces:
        losses.append(made.advance(first, RATES[:n]).loss)
        first += n
    order = np.random.default_rng(2).permutation(ROWS)
    assert len(seen) == 6
    for batch, X in enumerate(seen):
        rows = part().X[order[batch * BATCH : (batch + 1) * BATCH]]
        np.testing.assert_array_equal(X, rows + np.random.default_rng([7, 3, 4, batch]).normal(size=rows.shape))
    whole = trainer(backend, part(), GatheredBatches(part(), BATCH, shifted, seed=7)).advance(0, RATES).loss
    np.testing.assert_allclose(np.concatenate(losses), whole, rtol=1e-12)


def test_it_goes_on_in_the_middle_of_an_epoch(backend: Backend) -> None:
    made, again = (trainer(backend, part(), GatheredBatches(part(), BATCH)) for _ in range(2))
    whole = made.advance(0, RATES).loss
    begun = trainer(backend, part(), GatheredBatches(part(), BATCH))
    begun.advance(0, RATES[:2])
    backend.set_weights(again.model, backend.weights(begun.model))  # type: ignore[attr-defined]
    again.restore(begun.state())
    np.testing.assert_allclose(again.advance(2, RATES[2:]).loss, whole[2:], rtol=1e-12)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "categorical_crossentropy", "mean_squared_error"])
def test_the_loss_of_each_row_is_told(backend: Backend, loss: str) -> None:
    draw = np.random.default_rng(5)
    outputs = 3 if loss == "categorical_crossentropy" else 1
    y = {
        "binary_crossentropy": draw.integers(0, 2, (ROWS, 1)).astype(float),
        "categorical_crossentropy": draw.integers(0, 3, ROWS),
        "mean_squared_error": draw.normal(size=(ROWS, 1)),
    }[loss]
    rows = Part(part().X, y)
    spec = lk.Experiment(data={"source": "a.npz"}, model={"hidden": []}, training={"precision": "float64"})
    model = backend.build(spec.model, Signature((5,), outputs), "float64")
    weights = {"dense_0.kernel": draw.normal(size=(5, outputs)), "dense_0.bias": draw.normal(size=outputs)}
    backend.set_weights(model, weights)
    made = backend.trainer(model, spec, Dataset(rows, rows, rows, None), loss)  # type: ignore[arg-type]
    z = rows.X @ weights["dense_0.kernel"] + weights["dense_0.bias"]
    expected = {
        "binary_crossentropy": lambda: np.logaddexp(0, np.where(y == 1, -z, z))[:, 0],
        "categorical_crossentropy": lambda: np.log(np.exp(z).sum(1)) - z[np.arange(ROWS), y],
        "mean_squared_error": lambda: (z - y)[:, 0] ** 2,
    }[loss]()
    np.testing.assert_allclose(made.losses("test").values.reshape(ROWS), expected, rtol=1e-10)
    np.testing.assert_allclose(made.losses("validation", 4).values.reshape(4), expected[:4], rtol=1e-10)
