"""Tables made into arrays: split, filled, scaled, one-hot; fitted on the training part alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.augmentation import Augment
from lmkit.data.batches import Batches, Gathered, Part
from lmkit.data.preprocessing import Preprocessing as Preprocessing  # known from here
from lmkit.data.sources import Table, check_sizes, load, part_sizes, plain_value
from lmkit.errors import DataError
from lmkit.specs.augmentation import Augmentation
from lmkit.specs.data import DataSpec

if TYPE_CHECKING:
    import numpy as np


class Dataset(NamedTuple):
    """The three parts, ready for a trainer.

    Attributes:
        batches: what gives the training rows, where the device does not keep them; then ``training`` may be but the
            first of them.
    """

    training: Part
    validation: Part
    test: Part
    preprocessing: Preprocessing
    batches: Batches | None = None


KINDS: dict[str, str] = {"graph": "lmkit.data.graphs", "loader": "lmkit.data.own", "text": "lmkit.data.text"}
"""Kind of data that is no table → the module that knows it: its ``load``, ``prepare`` and ``Preprocessing``."""


def read_preprocessing(values: dict[str, Any]) -> Preprocessing:
    """The preprocessing that ``to_dict`` wrote into a run's folder."""
    kind = values.get("kind", "table")
    known = importlib.import_module(KINDS[kind]).Preprocessing if kind in KINDS else Preprocessing
    found: Preprocessing = known(**{name: value for name, value in values.items() if name != "kind"})
    return found


def read(spec: DataSpec, root: str | Path | None = None) -> Any:
    """The data of ``spec`` as it came: a table, or what the module of its kind makes of it, which has a table's
    ``y``, ``task`` and ``signature``."""
    return importlib.import_module(KINDS[spec.kind]).load(spec, root) if spec.kind in KINDS else load(spec, root)


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """The data of ``spec``, split by ``seed`` (stratified for classes) and prepared.

    Args:
        spec: what to load and how to prepare it.
        seed: decides the split.
        precision: dtype of the arrays, ``float32`` or ``float64``.
        root: where the runs are, and data kept beside them.

    Raises:
        DataError: it cannot be trained on.
    """
    if spec.kind in KINDS:
        prepared: Dataset = importlib.import_module(KINDS[spec.kind]).prepare(spec, seed, precision, root)
        return prepared
    if spec.streams:
        streamed: Dataset = importlib.import_module("lmkit.data.streaming").prepare(spec, seed, precision, root)
        return streamed
    return parted(spec, load(spec, root), seed, precision)


def parted(spec: DataSpec, table: Table, seed: int, precision: str) -> Dataset:
    """A table as three prepared parts; see ``prepare``."""
    import numpy as np

    check_sizes(spec, len(table.y))
    rows = split(spec, table, seed)
    preprocessing = fit(spec, table, rows[0])
    parts = []
    for chosen in rows:
        if len(chosen):
            X = preprocessing.apply(table.X.iloc[chosen])
            y = preprocessing.encode(table.y.iloc[chosen])
        else:
            X, y = np.empty((0, len(preprocessing.features))), np.empty((0,))
        parts.append(Part(X.astype(precision), y if table.task == "multiclass" else y.astype(precision)))
    training, validation, test = parts
    return Dataset(training, validation, test, preprocessing, augmented(spec, training, preprocessing, seed))


def augmented(spec: DataSpec, training: Part, known: Preprocessing, seed: int) -> Batches | None:
    """The batches in which the training rows are changed anew each time; None where they stay as they are."""
    if spec.augment is None or spec.augment == Augmentation():
        return None
    return Gathered(training, spec.batch_size, Augment(spec.augment, known), seed)


def fit(spec: DataSpec, table: Table, rows: np.ndarray) -> Preprocessing:
    """Fits what scales, fills and encodes on the training ``rows`` of ``table``, with scikit-learn."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    X, y = table.X.iloc[rows], table.y.iloc[rows]
    empty = [str(c) for c in X.columns if X[c].isna().all()]
    if empty:
        raise DataError(
            f"column {empty[0]!r} has no value in the {len(rows)} rows of the training part; "
            f"write data: {{drop: [{', '.join(empty)}]}}"
        )
    text = [c for c in X.columns if X[c].dtype == object]
    numeric = [c for c in X.columns if c not in text]
    fills = spec.missing in ("mean", "median", "most_frequent")
    numbers: dict[str, dict[str, Any]] = {}
    moves = bool(spec.augment and spec.augment.moves)
    if numeric:
        values = X[numeric].to_numpy(dtype=np.float64)
        fill: list[float | None] = [None] * len(numeric)
        if fills:
            imputer = SimpleImputer(strategy=spec.missing, keep_empty_features=True).fit(values)
            fill, values = imputer.statistics_.tolist(), imputer.transform(values)
        if moves:  # pixels change places, so that all of a channel are scaled alike
            values = values.reshape(-1, table.shape[-1])
        shift, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
        if spec.scale == "standard":
            scaler = StandardScaler().fit(values)
            shift, scale = scaler.mean_, scaler.scale_
        elif spec.scale == "minmax":
            bounds = MinMaxScaler().fit(values)
            shift, scale = bounds.data_min_, 1 / bounds.scale_
        if moves:
            shift, scale = (np.tile(v, len(numeric) // len(v)) for v in (shift, scale))
        numbers = {
            str(n): {"fill": f, "shift": float(m), "scale": float(s)}
            for n, f, m, s in zip(numeric, fill, shift, scale, strict=True)
        }
    texts: dict[str, dict[str, Any]] = {}
    for name in text:
        column = X[[name]].dropna()
        known = [str(v) for v in OneHotEncoder().fit(column).categories_[0]]
        usual = SimpleImputer(strategy="most_frequent").fit(column).statistics_[0] if fills else ""
        texts[str(name)] = {"fill": str(usual), "known": known}
    classes = [] if table.task == "regression" else [plain_value(v) for v in sorted(table.y.unique())]
    target = {"shift": 0.0, "scale": 1.0}
    if table.task == "regression" and spec.scale_target:
        scaler = StandardScaler().fit(y.to_numpy(dtype=np.float64)[:, None])
        target = {"shift": float(scaler.mean_[0]), "scale": float(scaler.scale_[0])}
    labels = [table.labels.get(v, str(v)) for v in classes]
    names = [str(c) for c in X.columns]
    return Preprocessing(table.task, numbers, texts, names, classes, labels, target, table.shape)


def batch_order(seed: int, epoch: int, rows: int) -> np.ndarray:
    """The order (rows,) of the training rows in ``epoch`` (counted from 0), the same for every framework."""
    import numpy as np

    return np.random.default_rng([seed, 1, epoch]).permutation(rows)


def split(spec: DataSpec, table: Table, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of training, validation and test."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    sizes = part_sizes(spec, len(table.y))
    rest, parts = np.arange(len(table.y)), {}
    for name in ("test", "validation"):
        parts[name] = rest[:0]
        if sizes[name]:
            classes = table.y.iloc[rest] if table.task != "regression" else None
            try:
                rest, parts[name] = train_test_split(rest, test_size=sizes[name], random_state=seed, stratify=classes)
            except ValueError:
                counts = table.y.value_counts()
                raise DataError(
                    f"the classes cannot be split evenly into {', '.join(f'{v} {k}' for k, v in sizes.items())} rows: "
                    f"the smallest class, {plain_value(counts.index[-1])!r}, has {counts.iloc[-1]}; "
                    "give each class more rows, or write data: {validation: 0} or {test: 0}"
                ) from None
    return rest, parts["validation"], parts["test"]
