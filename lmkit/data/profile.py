"""What the prepared data of a run are like, in numbers: ``profile.json``, which the doctor reads.

A profile looks at all targets of the training part, and at no more than ``PROFILE_ROWS`` rows of each part, fewer where
rows are long. It takes some hundredths of a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.data import overlap, quality
from lmkit.specs.losses import loss_value
from lmkit.specs.references import is_reference
from lmkit.specs.tasks import get_task
from lmkit.system.records import Count, Statistic

if TYPE_CHECKING:
    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset
    from lmkit.specs.losses import LossName

FILE = "profile.json"

PROFILE_ROWS = 1_500
"""Rows of a part that are looked at, at most."""

PROFILE_NUMBERS, MIN_PROFILE_ROWS = 2**23, 100
"""Numbers in these rows, at most, but at least so many rows: photographs are too large for all of them."""

NEIGHBOR_ROWS, NEIGHBORS, AGREEMENT = 1_000, 15, 0.6
"""Rows among which neighbours are sought, how many, and the share of them that has to agree on another class."""

MAX_LISTED = 5
"""Columns that are named, at most."""

MAX_CLASSES = 100
"""Classes whose shares are written, at most: the most frequent ones."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What another model reaches on the same data.

    Attributes:
        score: its accuracy, or R², on the validation part; without one, on the test part.
        training_score: on the training part.
        loss: the loss of the run, where the model gives what that loss takes.
    """

    score: Statistic = None
    training_score: Statistic = None
    loss: Statistic = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A feature in the prepared data.

    Attributes:
        name: of the feature.
        mean, spread: its mean and standard deviation.
    """

    name: str
    mean: Statistic = None
    spread: Statistic = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What prepared data are like.

    Attributes:
        task: of the data.
        rows: part → its rows.
        features: numbers in a row.
        has_rows: whether rows are vectors of numbers that can be compared; nodes of a graph and tokens are not.
        chance_loss: the loss of the best constant prediction over the training part; None for a custom loss.
        chance_score: the accuracy of the most frequent class, or 0 for an R².
        class_shares: of the training part, the most frequent first.
        target: mean and standard deviation of a target of numbers.
        largest, smallest: the columns with the largest and the smallest standard deviation.
        constant: the number of constant columns.
        row_numbers: columns that number the rows.
        revealing: columns that nearly are the target.
        duplicates: the share of training rows that repeat another one, its first occurrence not counted.
        recurrence: how often a row of features occurs in the training part, on average; of columns with few values each
            occurs often.
        shared: part → the share of its rows that are also in the training part.
        disagreement: the share of rows whose neighbours agree on another class.
        shift: the largest difference between the means of the training and the validation part, in standard deviations.
        shifted: the column of which that is.
        unseen_classes: part → the share of its rows whose class the training part does not have.
        unseen_values: part → the share of its rows with a category that the training part does not have.
        score_rows: the rows by which references are measured.
        references: name → what another model reaches; empty where none was fitted.
    """

    task: str = ""
    rows: dict[str, Count] = field(default_factory=dict)
    features: Count = 0
    has_rows: bool = False
    chance_loss: Statistic = None
    chance_score: Statistic = None
    class_shares: tuple[Statistic, ...] = ()
    target: Column | None = None
    largest: Column | None = None
    smallest: Column | None = None
    constant: Count = 0
    row_numbers: tuple[str, ...] = ()
    revealing: tuple[str, ...] = ()
    duplicates: Statistic = None
    recurrence: Statistic = None
    shared: dict[str, Statistic] = field(default_factory=dict)
    disagreement: Statistic = None
    shift: Statistic = None
    shifted: str = ""
    unseen_classes: dict[str, Statistic] = field(default_factory=dict)
    unseen_values: dict[str, Statistic] = field(default_factory=dict)
    score_rows: Count = 0
    references: dict[str, Reference] = field(default_factory=dict)


def profile_data(data: Dataset, loss: LossName) -> Profile:
    """Return the profile of prepared data, without references.

    Args:
        data: the three parts.
        loss: what is minimized.
    """
    preprocessing = data.preprocessing
    task = get_task(preprocessing.task)
    values: dict[str, Any] = {"task": preprocessing.task, "rows": data.part_rows}
    training = sample(data.training)
    if not task.per_position and len(training.y):
        values |= _target(np.asarray(data.training.y[:]), task, loss)
    values |= _unseen(data, task)
    has_rows = has_row_vectors(data) and len(training.X) > 1
    if has_rows:
        X = training.X.reshape(len(training.X), -1).astype(np.float64)
        names = feature_names(data, X.shape[1])
        values |= {"features": X.shape[1]} | _columns(X, names, is_table=len(preprocessing.shape) == 1)
        features, both = overlap.hash_rows(training)
        values["duplicates"] = 1 - len(np.unique(both)) / len(both)
        values["recurrence"] = len(features) / len(np.unique(features))
        values["shared"] = _shared(data)
        values["revealing"] = tuple(quality.revealing_columns(training, preprocessing)[0][:MAX_LISTED])
        if task.exclusive_classes:
            values["disagreement"] = disagreement(X[:NEIGHBOR_ROWS], training.y.reshape(-1)[:NEIGHBOR_ROWS])
        other = data.validation if len(data.validation.X) else data.test
        if len(other.X) > 1:
            rows = sample(other).X
            values |= _shift(X, rows.reshape(len(rows), -1).astype(np.float64), names)
    return Profile(has_rows=has_rows, **values)


def has_row_vectors(data: Dataset) -> bool:
    """Return whether rows are vectors of numbers that can be compared with each other."""
    signature = data.preprocessing.signature
    is_plain = signature.graph is None and not signature.vocabulary
    return (
        is_plain and not get_task(data.preprocessing.task).per_position and np.dtype(data.training.X.dtype).kind == "f"
    )


def sample_size(features: int) -> int:
    """Return how many rows of so many numbers ``sample`` takes, at most.

    >>> sample_size(30), sample_size(3 * 224 * 224)
    (1500, 100)
    """
    return min(PROFILE_ROWS, max(MIN_PROFILE_ROWS, PROFILE_NUMBERS // max(1, features)))


def sample(part: Part) -> Part:
    """Return at most ``sample_size`` rows of a part as arrays: evenly spaced, of a mapped file the first ones."""
    from lmkit.data.batches import Part

    X, y = part
    rows = sample_size(math.prod(X.shape[1:]))
    if len(X) <= rows or not isinstance(X, np.ndarray) or isinstance(X, np.memmap):
        return Part(np.asarray(X[:rows]), np.asarray(y[:rows]))
    indices = np.linspace(0, len(X) - 1, rows).astype(np.int64)
    return Part(X[indices], np.asarray(y)[indices])


def feature_names(data: Dataset, features: int) -> list[str]:
    """Return the names of the features; their numbers where they have none."""
    names = list(getattr(data.preprocessing, "features", None) or [])
    return [str(name) for name in names] if len(names) == features else [str(i) for i in range(features)]


def _target(y: np.ndarray, task: Any, loss: LossName) -> dict[str, Any]:
    """Return chance levels, and the shares of classes or the scale of a target."""
    if task.exclusive_classes:
        counts = np.bincount(y.reshape(-1).astype(np.int64))
        shares = counts / counts.sum()
        present = shares[shares > 0]
        entropy = float(-(present * np.log(present)).sum())
        order = sorted(shares.tolist(), reverse=True)
        is_entropy = loss in ("categorical_crossentropy", "binary_crossentropy")
        chance = {"chance_loss": entropy if is_entropy else None, "chance_score": order[0]}
        return chance | {"class_shares": tuple(order[:MAX_CLASSES])}
    values: dict[str, Any] = {}
    if task.numeric:
        numbers = y.reshape(len(y), -1).astype(np.float64)
        values["target"] = Column(name="", mean=float(numbers.mean()), spread=float(numbers.std()))
        values["chance_score"] = 0.0
        if not is_reference(loss):
            values["chance_loss"] = loss_value(loss, np.broadcast_to(numbers.mean(0), numbers.shape), numbers)
    return values


def _columns(X: np.ndarray, names: list[str], *, is_table: bool) -> dict[str, Any]:
    means, spreads = X.mean(0), X.std(0)
    varying = np.flatnonzero(spreads > 0)
    values: dict[str, Any] = {"constant": len(spreads) - len(varying)}
    if len(varying):
        for name, i in (("largest", spreads.argmax()), ("smallest", varying[spreads[varying].argmin()])):
            values[name] = Column(name=names[i], mean=float(means[i]), spread=float(spreads[i]))
    if is_table:
        values["row_numbers"] = tuple(names[i] for i in varying if is_row_number(X[:, i]))[:MAX_LISTED]
    return values


def is_row_number(x: np.ndarray) -> bool:
    """Return whether a column (rows,) numbers rows: all different, at equal distances but for the rows of other parts.

    >>> is_row_number(np.array([3.0, 0, 7, 1, 9, 2, 12, 5, 4, 6, 8, 10])), is_row_number(np.array([0.1, 0.2, 0.5]))
    (True, False)
    """
    if len(x) < 10:
        return False
    gaps = np.diff(np.sort(x))
    smallest = gaps.min()
    if smallest <= 0:
        return False
    steps = gaps / np.median(gaps[gaps < 1.5 * smallest])
    return bool(np.abs(steps - np.round(steps)).max() < 0.05 and steps.sum() < 4 * len(x))


def _unseen(data: Dataset, task: Any) -> dict[str, dict[str, float]]:
    """Return the shares of rows of other parts with a class, or a category, that the training part does not have."""
    values: dict[str, dict[str, float]] = {}
    parts = {name: part for name in ("validation", "test") if len((part := getattr(data, name)).X)}
    if task.exclusive_classes and not task.per_position:
        classes = np.unique(np.asarray(data.training.y[:]))
        shares = {name: float((~np.isin(np.asarray(part.y[:]), classes)).mean()) for name, part in parts.items()}
        values["unseen_classes"] = {name: share for name, share in shares.items() if share}
    names, categories = getattr(data.preprocessing, "features", None), getattr(data.preprocessing, "categories", None)
    if categories and names and data.training.X.ndim == 2 and data.training.X.shape[1] == len(names):
        shares = {name: _unseen_share(np.asarray(sample(part).X), names, categories) for name, part in parts.items()}
        values["unseen_values"] = {name: share for name, share in shares.items() if share}
    return values


def _unseen_share(X: np.ndarray, names: list[str], categories: dict[str, dict[str, Any]]) -> float:
    """Return the share of rows (rows, features) that have a category of no one-hot column."""
    is_unseen = np.zeros(len(X), dtype=bool)
    for column, fit in categories.items():
        members = [names.index(f"{column}={value}") for value in fit["known"] if f"{column}={value}" in names]
        if members:
            is_unseen |= ~(X[:, members] != 0).any(axis=1)
    return float(is_unseen.mean()) if len(X) else 0.0


def _shared(data: Dataset) -> dict[str, float]:
    """Return the share of rows of each other part, by features and target, that is also in the training part.

    Parts that share no more rows than are equal by chance are left out.
    """
    parts = {name: getattr(data, name) for name in ("training", "validation", "test")}
    numbers = sum(math.prod(part.X.shape) for part in parts.values())
    if numbers > quality.CHEAP_NUMBERS or not all(isinstance(part.X, np.ndarray) for part in parts.values()):
        return {}
    hashes = {name: overlap.hash_rows(part)[1] for name, part in parts.items() if len(part.X)}
    training = hashes.pop("training")
    shares = {name: float(np.isin(rows, training).mean()) for name, rows in hashes.items()}
    if not any(shares.values()):
        return shares
    chance = overlap.chance_share(data.training.X, len(training), quality.column_widths(data.preprocessing))
    return {name: share for name, share in shares.items() if not overlap.is_by_chance(share, chance)}


def _shift(X: np.ndarray, other: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Return the largest difference of means between two parts, in standard deviations, and its column."""
    scale = np.sqrt((X.var(0) + other.var(0)) / 2)
    differences = np.abs(X.mean(0) - other.mean(0)) / np.where(scale > 0, scale, np.inf)
    i = int(differences.argmax())
    return {"shift": float(differences[i]), "shifted": names[i]}


def disagreement(X: np.ndarray, y: np.ndarray) -> float | None:
    """Return the share of rows of which at least 60 % of the 15 nearest neighbours have one other class.

    Columns are scaled to unit variance first. None for too few rows.

    >>> X = np.repeat([[0.0], [10.0]], 20, axis=0) + np.linspace(0, 1, 40)[:, None]
    >>> y = np.repeat([0, 1], 20)
    >>> y[3] = 1
    >>> disagreement(X, y)
    0.025
    """
    if len(X) <= NEIGHBORS:
        return None
    spread = X.std(0)
    X = X[:, spread > 0] / spread[spread > 0]
    distances = X @ X.T  # ‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b; ‖a‖² is the same for all neighbours of a
    distances *= -2
    distances += (X**2).sum(1)
    np.fill_diagonal(distances, np.inf)
    neighbors = np.asarray(y)[np.argpartition(distances, NEIGHBORS, axis=1)[:, :NEIGHBORS]]
    classes, numbers = np.unique(y, return_inverse=True)
    counts = np.stack([(neighbors == value).sum(1) for value in classes], axis=1)
    top = counts.argmax(1)
    disagree = (top != numbers.reshape(-1)) & (counts.max(1) >= AGREEMENT * NEIGHBORS)
    return float(disagree.mean())
