"""The data of the doctor's cases: each function takes a seed, and returns features and targets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

Data = tuple[np.ndarray, np.ndarray]
"""Features and target."""

Source = Callable[[int], Any]
"""Returns the data of a seed: arrays, or parts."""


def clouds(seed: int, rows: int = 900) -> Data:
    return datasets.make_blobs(rows, 8, centers=4, cluster_std=2.5, random_state=seed)


def circles(seed: int) -> Data:
    return datasets.make_circles(600, noise=0.08, factor=0.5, random_state=seed)


def moons(seed: int) -> Data:
    return datasets.make_moons(600, noise=0.15, random_state=seed + 1)


def checkers(seed: int) -> Data:
    """Points in a square, by the sign of the product of both coordinates."""
    X = np.random.default_rng(seed).uniform(-1, 1, (800, 2))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def digits(seed: int, rows: int | None = None) -> Data:
    X, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))[:rows] if rows else slice(None)
    return (X / 16)[order], y[order]


def cancer(seed: int) -> Data:
    return datasets.load_breast_cancer(return_X_y=True)


def regression(seed: int) -> Data:
    return datasets.load_diabetes(return_X_y=True)


def wine(seed: int) -> Data:
    return datasets.load_wine(return_X_y=True)


def unscaled(seed: int) -> Data:
    X, y = clouds(seed)
    return X * np.array([1e4, 3e3, 1, 1, 1, 1, 1, 1]), y


def times(source: Callable[[int], Data], factor: float) -> Source:
    """Return data with features that are multiplied."""

    def scaled(seed: int) -> Data:
        X, y = source(seed)
        return X * factor, y

    return scaled


def far_target(seed: int) -> Data:
    X, y = regression(seed)
    return X, y * 1e4


def permuted(seed: int) -> Data:
    X, y = digits(seed)
    return X, np.random.default_rng(seed).permutation(y)


def unrelated(seed: int) -> Data:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(600, 10)), generator.integers(0, 3, 600)


def mislabeled(source: Callable[[int], Data], share: float) -> Source:
    """Return data in which a share of the rows has a class that was drawn."""

    def drawn(seed: int) -> Data:
        X, y = source(seed)
        generator = np.random.default_rng(seed)
        wrong = generator.random(len(y)) < share
        return X, np.where(wrong, generator.integers(0, y.max() + 1, len(y)), y)

    return drawn


def rare(seed: int, share: float = 0.026, classes: int = 2) -> Data:
    weights = [1 - share * (classes - 1)] + [share] * (classes - 1)
    X, y = datasets.make_classification(
        1500, 10, n_informative=5, n_classes=classes, weights=weights, flip_y=0, class_sep=0.6, random_state=seed
    )
    return X, y


def leaking(seed: int) -> Data:
    X, y = cancer(seed)
    return np.column_stack([X, y + 0.01 * np.random.default_rng(seed).normal(size=len(y))]), y


def leaking_number(seed: int) -> Data:
    X, y = regression(seed)
    return np.column_stack([X, 0.5 * y + 0.1 * np.random.default_rng(seed).normal(size=len(y))]), y


def repeated(source: Callable[[int], Data], copies: int) -> Source:
    """Return data of which each row occurs several times."""

    def copied(seed: int) -> Data:
        X, y = source(seed)
        return np.tile(X, (copies, 1)), np.tile(y, copies)

    return copied


def wide(seed: int, rows: int = 120, columns: int = 60) -> Data:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(rows, columns))
    return X, (X[:, 0] + X[:, 1] + 0.8 * generator.normal(size=rows) > 0).astype(int)


def sequences(seed: int) -> Data:
    X = np.random.default_rng(seed).normal(size=(600, 40, 2))
    return X, (X.mean((1, 2)) > 0).astype(int)


def memory(seed: int) -> Data:
    """Sequences whose class is the sign of the first place."""
    X, _ = sequences(seed)
    return X, (X[:, 0, 0] > 0).astype(int)


def recent(seed: int) -> Data:
    """Sequences whose class is the sign of the last place."""
    X, _ = sequences(seed)
    return X, (X[:, -1, 0] > 0).astype(int)


class Rows:
    """Rows by index, as of a PyTorch ``Dataset``."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.X[i], self.y[i]


def tokens(seed: int, place: int = 0) -> Rows:
    """Sequences of 30 tokens whose class is whether the token at a place is one of the first six of twelve."""
    X = np.random.default_rng(seed).integers(0, 12, (800, 30))
    return Rows(X, (X[:, place] < 6).astype(np.int64))


def drifting(seed: int) -> Any:
    """A table whose first columns drift with the day."""
    import pandas as pd

    generator = np.random.default_rng(seed)
    day = np.arange(900)
    X = generator.normal(size=(900, 5))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    X[:, 0] += day / 100
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(5)])
    return frame.assign(day=pd.Timestamp("2024-01-01") + pd.to_timedelta(day, "D"), target=y)


def steady(seed: int) -> Any:
    """The same table without the drift."""
    frame = drifting(seed)
    return frame.assign(x0=frame["x0"] - np.arange(900) / 100)


def changed(seed: int) -> Any:
    """The same table, with a sensor that was replaced before the latest rows."""
    frame = steady(seed)
    return frame.assign(x3=frame["x3"] + 4 * (np.arange(900) > 550))


def colours(seed: int) -> Any:
    """A table with a column of words, the same ones in all rows."""
    frame = late_colours(seed)
    return frame.assign(colour=frame["colour"].str.replace("early|late", "colour ", regex=True))


def iris(seed: int) -> Data:
    return datasets.load_iris(return_X_y=True)


def friedman(seed: int) -> Data:
    return datasets.make_friedman1(900, noise=0.5, random_state=seed)


def plane(seed: int) -> Data:
    return datasets.make_regression(600, 8, noise=10, random_state=seed)


def roll(seed: int) -> Data:
    return datasets.make_swiss_roll(900, noise=0.2, random_state=seed)


def shells(seed: int) -> Data:
    """Three classes by the distance from the middle."""
    return datasets.make_gaussian_quantiles(n_samples=900, n_features=3, n_classes=3, random_state=seed)


def bars(seed: int) -> Data:
    """Noisy images of 8 × 8 pixels with a line across or down."""
    generator = np.random.default_rng(seed)
    X, y = 0.3 * generator.normal(size=(500, 8, 8, 1)), generator.integers(0, 2, 500)
    for image, is_down, place in zip(X, y, generator.integers(0, 8, 500), strict=True):
        (image[:, place] if is_down else image[place])[:] += 1
    return X, y


def bumps(seed: int) -> Data:
    """Noisy sequences of 40 steps with a bump up or down somewhere."""
    generator = np.random.default_rng(seed)
    X, y = 0.3 * generator.normal(size=(600, 40, 2)), generator.integers(0, 2, 600)
    for sequence, is_up, place in zip(X, y, generator.integers(0, 34, 600), strict=True):
        sequence[place : place + 6, 0] += 2 * is_up - 1
    return X, y


def text(seed: int) -> str:
    """The path of a text: what scikit-learn says about its data sets."""
    folder = Path(datasets.__file__).parent / "descr"
    path = Path(tempfile.gettempdir()) / "lmkit-doctor-descriptions.txt"
    path.write_text("".join(file.read_text() for file in sorted(folder.glob("*.rst"))))
    return str(path)


def late_classes(seed: int) -> Any:
    """A table whose last class begins in the latest rows."""
    import pandas as pd

    X, y = clouds(seed)
    order = np.argsort(y == 3, kind="stable")
    frame = pd.DataFrame(X[order], columns=[f"x{i}" for i in range(8)])
    return frame.assign(day=pd.date_range("2024-01-01", periods=len(y)), target=[f"c{i}" for i in y[order]])


def late_colours(seed: int) -> Any:
    """A table with a column of words, of which the latest rows have others."""
    import pandas as pd

    generator = np.random.default_rng(seed)
    colour = generator.integers(0, 4, 900)
    x = generator.normal(size=900)
    late = np.arange(900) >= 650
    names = [f"late{c}" if is_late else f"early{c}" for c, is_late in zip(colour, late, strict=True)]
    y = (x + (colour % 2) * 3 > 1.5).astype(int)
    return pd.DataFrame({"x": x, "colour": names, "day": pd.date_range("2024-01-01", periods=900), "target": y})


def slow_batches(seconds: float, source: Callable[[int], Data] = digits) -> Source:
    """Return parts of which the training part waits for each batch."""

    def parts(seed: int) -> Any:
        X, y = source(seed)
        X, y = X.astype(np.float32), y.astype(np.int64)
        order = np.random.default_rng(seed).permutation(len(X))
        training, rest = order[: len(X) * 3 // 4], order[len(X) * 3 // 4 :]

        def batches() -> Any:
            import time

            for first in range(0, len(training), 64):
                time.sleep(seconds)
                yield X[training[first : first + 64]], y[training[first : first + 64]]

        half = len(rest) // 2
        return {
            "training": batches,
            "validation": [(X[rest[:half]], y[rest[:half]])],
            "test": [(X[rest[half:]], y[rest[half:]])],
        }

    return parts
