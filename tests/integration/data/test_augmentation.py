"""Augmentation does what SciPy does, in training alone, and the same in both frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn import datasets

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.data.augmentation import augment_for, move_images
from lmkit.data.batches import GatheredBatches, Part
from lmkit.data.dataset import Dataset
from lmkit.data.preparation import prepare
from lmkit.specs.augmentation import Augmentation
from lmkit.specs.data import DataSpec

draw = np.random.default_rng(3)
IMAGES = draw.normal(size=(5, 7, 9, 2))
SHIFTS, ANGLES = draw.uniform(-3, 3, (5, 2)), draw.uniform(-3, 3, 5)
STILL, UPRIGHT, STRAIGHT = np.zeros((5, 2)), np.zeros(5), np.zeros(5, dtype=bool)
BEYOND = np.array([0.5, -1.0])


def each(function: Any) -> np.ndarray:
    """SciPy's ``function(image, number of the image, what lies beyond)`` of every channel of every image."""
    pairs = [[function(IMAGES[i, ..., c], i, BEYOND[c]) for c in range(2)] for i in range(5)]
    return np.moveaxis(np.array(pairs), 1, -1)


def test_images_are_shifted_as_by_scipy() -> None:
    expected = each(
        lambda image, i, beyond: ndimage.shift(image, SHIFTS[i], order=1, mode="grid-constant", cval=beyond)
    )
    np.testing.assert_allclose(move_images(IMAGES, SHIFTS, UPRIGHT, STRAIGHT, BEYOND), expected, atol=1e-13)


def test_images_are_turned_as_by_scipy() -> None:
    def rotated(image: np.ndarray, i: int, beyond: float) -> np.ndarray:
        angle = -np.rad2deg(ANGLES[i])  # SciPy turns the other way
        return ndimage.rotate(image, angle, reshape=False, order=1, mode="grid-constant", cval=beyond)

    np.testing.assert_allclose(move_images(IMAGES, STILL, ANGLES, STRAIGHT, BEYOND), each(rotated), atol=1e-13)


def test_images_are_mirrored_then_turned_then_shifted() -> None:
    def all_of_it(image: np.ndarray, i: int, beyond: float) -> np.ndarray:
        turn = np.array([[np.cos(ANGLES[i]), -np.sin(ANGLES[i])], [np.sin(ANGLES[i]), np.cos(ANGLES[i])]])
        middle = np.array([3, 4])
        offset = middle - turn @ (middle + SHIFTS[i])
        return ndimage.affine_transform(image[:, ::-1], turn, offset, order=1, mode="grid-constant", cval=beyond)

    np.testing.assert_array_equal(move_images(IMAGES, STILL, UPRIGHT, ~STRAIGHT, BEYOND), IMAGES[:, :, ::-1])
    np.testing.assert_allclose(move_images(IMAGES, SHIFTS, ANGLES, ~STRAIGHT, BEYOND), each(all_of_it), atol=1e-13)


def digits(**augment: Any) -> Dataset:
    return prepare(DataSpec(source="digits", augment=augment, batch_size=50), 0, "float64")


def changed(data: Dataset, seed: int = 0, rows: int = 200) -> Part:
    assert isinstance(data.batches, GatheredBatches)
    assert data.batches.change
    return data.batches.change(Part(data.training.X[:rows], data.training.y[:rows]), np.random.default_rng(seed))


def test_pixels_that_move_are_scaled_alike_and_black_comes_in() -> None:
    data = digits(shift=20)
    raw = datasets.load_digits().data
    fits = data.preprocessing.numbers.values()
    (shift,), (scale,) = ({fit[name] for fit in fits} for name in ("shift", "scale"))
    training = data.training.X * scale + shift
    assert {tuple(row) for row in training.round().astype(int)} <= {tuple(row) for row in raw.astype(int)}
    assert (shift, scale) == (pytest.approx(training.mean(), rel=1e-12), pytest.approx(training.std(), rel=1e-12))
    away = changed(data).X * scale + shift  # most images are pushed out of sight
    assert np.median(away.max(axis=1)) == pytest.approx(0, abs=1e-12)
    assert away.min() == pytest.approx(0, abs=1e-12)
    assert away.max() > 10


def test_a_shift_below_one_is_a_share_of_a_side() -> None:
    np.testing.assert_array_equal(changed(digits(shift=0.25)).X, changed(digits(shift=2)).X)


def test_half_of_the_images_are_mirrored() -> None:
    data = digits(flip=True)
    given, found = (X.reshape(-1, 8, 8) for X in (data.training.X[:200], changed(data).X))
    kept, mirrored = ((found == other).all(axis=(1, 2)) for other in (given, given[:, :, ::-1]))
    assert (kept | mirrored).all()
    assert 70 < kept.sum() < 130


def test_noise_has_its_deviation() -> None:
    data = digits(noise=0.3)
    noise = changed(data).X - data.training.X[:200]
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert not np.array_equal(changed(data).X, changed(data, 1).X)
    np.testing.assert_array_equal(changed(data).X, changed(data).X)


@pytest.mark.parametrize(("source", "task"), [("wine", "multiclass"), ("breast_cancer", "binary"), ("diabetes", "r")])
def test_rows_and_targets_are_mixed_by_the_same_shares(source: str, task: str) -> None:
    data = prepare(DataSpec(source=source, augment=Augmentation(mixup=0.4)), 0, "float64")
    X, y = data.training.X[:60], data.training.y[:60]
    targets = np.eye(3)[y] if task == "multiclass" else y
    mixed = changed(data, rows=60)
    assert mixed.y.shape == targets.shape
    if task == "multiclass":
        np.testing.assert_allclose(mixed.y.sum(axis=1), 1, rtol=1e-12)
    both = np.hstack([X, targets])
    shares: list[float] = []
    for row in np.hstack([mixed.X, mixed.y]):  # of which two rows, and by which share, it can be
        found = []
        for own, other in ((own, other) for own in [both[len(shares)]] for other in both):
            step = other - own
            share = float(step @ (row - own) / (step @ step)) if step.any() else 0.0
            if np.allclose(own + share * step, row, atol=1e-9):
                found.append(share)
        assert found
        shares.append(found[0])
    assert 0 < np.mean(shares) < 1
    assert np.mean([min(s, 1 - s) < 0.1 for s in shares]) > 0.4  # Beta(0.4, 0.4) is high at its ends


def test_validation_and_test_stay_as_they_are() -> None:
    plain = prepare(DataSpec(source="wine"), 0, "float64")
    noisy = prepare(DataSpec(source="wine", augment=Augmentation(noise=1, mixup=1)), 0, "float64")
    for part in ("training", "validation", "test"):
        for one, other in zip(getattr(plain, part), getattr(noisy, part), strict=True):
            np.testing.assert_array_equal(one, other)
    assert prepare(DataSpec(source="wine", augment=Augmentation()), 0, "float64").batches is None


ALL = {"shift": 1, "rotate": 15, "flip": True, "noise": 0.1, "mixup": 0.3}


def experiment(framework: str) -> lk.Experiment:
    return lk.Experiment(
        framework=framework,
        data={"source": "digits", "augment": ALL, "batch_size": 100},
        model={"family": "cnn", "channels": [4], "convolutions": 1, "dense": []},
        training={"precision": "float64", "epochs": 2},
    )


def test_the_curve_is_the_same_in_both_frameworks() -> None:
    runs = [lk.train(experiment(name), inline=True) for name in ("torch", "tensorflow")]
    assert [run.state for run in runs] == ["completed", "completed"]
    one, other = (run.steps["loss"].to_numpy() for run in runs)
    assert len(one) == 22
    np.testing.assert_allclose(one, other, rtol=1e-9)
    plain = lk.train(experiment("torch").override({"data.augment": None}), inline=True)
    assert not np.allclose(plain.steps["loss"], one, rtol=1e-3)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_it_goes_on_in_the_middle_of_an_epoch_to_the_bit(framework: str) -> None:
    spec, rates = experiment(framework), np.full(11, 0.02)
    data = prepare(spec.data, 0, "float64")
    signature, backend = data.preprocessing.signature, get_backend(framework)

    def trainer() -> Any:
        model = backend.build(spec.model, signature, "float64")
        backend.set_weights(model, spec.model.initial_weights(signature, 0))
        made = backend.trainer(model, spec, data, "categorical_crossentropy")
        made.epoch(np.random.default_rng(1).permutation(len(data.training.X)), 3)
        return made

    whole = trainer().advance(0, rates).loss
    begun, again = trainer(), trainer()
    np.testing.assert_array_equal(begun.advance(0, rates[:4]).loss, whole[:4])
    backend.set_weights(again.model, backend.weights(begun.model))
    again.restore(begun.state())
    np.testing.assert_array_equal(again.advance(4, rates[4:]).loss, whole[4:])


def test_a_batch_of_one_row_is_changed_too() -> None:
    data = digits(**ALL)
    assert changed(data, rows=1).X.shape == (1, 64)
    np.testing.assert_allclose(changed(data, rows=1).y.sum(), 1)
    change = augment_for(Augmentation(**ALL), data.preprocessing)
    single = change(Part(*(a[:9].astype("float32" if a.ndim > 1 else a.dtype) for a in data.training)), draw)
    assert (single.X.dtype, single.y.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "wine", "augment": {"shift": 1}}, "data.augment: given shift: 1, which moves pixels, but a row"),
        ({"source": "wine", "augment": {"flip": True}}, "data.augment: given flip: true, which moves pixels"),
        ({"source": "digits", "axes": "sequence", "augment": {"rotate": 9}}, "of shape (8, 8), expected images"),
        ({"source": "digits", "augment": {"rotat": 9}}, "did you mean 'rotate'?"),
        (
            {"source": "digits", "augment": {"noise": -1}},
            "data.augment.noise: given -1, expected a number of at least 0",
        ),
    ],
)
def test_what_cannot_be_augmented_is_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(lk.ConfigError) as caught:
        lk.Experiment(data=data)
    assert said in caught.value.problems[0]


def test_pixels_of_a_file_that_are_columns_cannot_move(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=draw.normal(size=(40, 6)), y=np.arange(40) % 2)
    with pytest.raises(lk.DataError, match=r"data\.augment: given rotate: 5, .*noise and mixup suit any rows"):
        lk.train({"data": {"source": str(tmp_path / "a.npz"), "augment": {"rotate": 5}}})
    with pytest.raises(lk.DataError, match=r"data\.augment: given shift: 1, .* of shape \(63,\)"):
        lk.train(data="digits", drop=["pixel_0_0"], augment={"shift": 1})
    assert not (tmp_path / "runs").exists()
