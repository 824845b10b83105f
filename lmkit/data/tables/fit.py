"""Prepare tables for training: split, fill, scale, one-hot encode; everything is fitted on the training part alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.data.augmentation import augment_for
from lmkit.data.batches import GatheredBatches, Part
from lmkit.data.dataset import Dataset
from lmkit.data.tables.columns import MISSING
from lmkit.data.tables.order import describe_split, draw_order
from lmkit.data.tables.parts import PARTS
from lmkit.data.tables.sources import check_sizes, part_sizes, shared_rows
from lmkit.data.tables.table import Table
from lmkit.exceptions import DataError, join_names
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.specs.augmentation import Augmentation
from lmkit.specs.data import DataSpec
from lmkit.specs.tasks import get_task
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np


def prepare_table(spec: DataSpec, table: Table, seed: int, precision: str) -> Dataset:
    """Split a table and prepare its three parts; see ``lmkit.data.preparation.prepare``."""
    import numpy as np

    check_table_sizes(spec, table)
    rows = split(spec, table, seed)
    preprocessing = fit(spec, table, rows[0])
    task = get_task(table.task)
    parts = []
    for part in rows:
        if len(part):
            X = preprocessing.apply_parsed(table.X.iloc[part])
            y = preprocessing.encode(table.y.iloc[part])
        else:
            X, y = np.empty((0, len(preprocessing.features))), np.empty((0,))
        parts.append(Part(X.astype(precision), y if task.integer_targets else y.astype(precision)))
    training, validation, test = parts
    batches = augmented_batches(spec, training, preprocessing, seed)
    warnings = (*table.warnings, *_rare_classes(table, rows[0]), *_unseen_categories(table, preprocessing, rows))
    notes = table.notes
    if table.order is not None:
        notes = (*notes, describe_split(table.order, dict(zip(PARTS, rows, strict=True))))
    return Dataset(training, validation, test, preprocessing, batches, notes, warnings)


def augmented_batches(
    spec: DataSpec, training: Part, preprocessing: TablePreprocessing, seed: int
) -> GatheredBatches | None:
    """Return batches that augment the training rows in each epoch; None without augmentation."""
    if spec.augment is None or spec.augment == Augmentation():
        return None
    return GatheredBatches(training, spec.batch_size, augment_for(spec.augment, preprocessing), seed)


def fit(spec: DataSpec, table: Table, rows: np.ndarray) -> TablePreprocessing:
    """Fit scaling, fill values and categories on the training ``rows`` of ``table``, with scikit-learn."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    X, y = table.X.iloc[rows], table.y.iloc[rows]
    empty = [str(c) for c, is_empty in X.isna().all().items() if is_empty]
    if empty:
        raise DataError(
            f"column {empty[0]!r} has no value in the {len(rows)} rows of the training part; "
            f"use data: {{drop: [{join_names(empty)}]}}"
        )
    text = [c for c, kind in X.dtypes.items() if kind.kind == "O"]
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
        if moves:  # pixels move, so that all pixels of a channel share one scaling
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
        categories = [str(v) for v in OneHotEncoder().fit(column).categories_[0]]
        most_frequent = MISSING if MISSING in categories else ""
        if fills:
            most_frequent = SimpleImputer(strategy="most_frequent").fit(column).statistics_[0]
        texts[str(name)] = {"fill": str(most_frequent), "known": categories}
    task = get_task(table.task)
    classes = [plain_value(v) for v in task.class_values(table.y.unique())]
    target = {"shift": 0.0, "scale": 1.0}
    if task.numeric and spec.scale_target:
        scaler = StandardScaler().fit(y.to_numpy(dtype=np.float64)[:, None])
        target = {"shift": float(scaler.mean_[0]), "scale": float(scaler.scale_[0])}
    labels = [table.labels.get(v, str(v)) for v in classes]
    formats = dict(table.formats)
    return TablePreprocessing(
        *(table.task, numbers, texts, table.columns, classes, labels, target, table.shape),
        formats=formats,
        missing_values=dict(table.missing_values),
    )


def split(spec: DataSpec, table: Table, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of training, validation and test: by groups or time, else stratified by class.

    Parts that the table has stay what they are; the others are drawn from its training part. A class with fewer rows
    than there are parts is in the training part alone. Of the training part ``data.training_share`` is returned.
    """
    training, validation, test = _split_all(spec, table, seed)
    return share_rows(spec, table, training, seed), validation, test


def share_rows(spec: DataSpec, table: Table, training: np.ndarray, seed: int) -> np.ndarray:
    """Return those of the training rows (rows,) that are trained on, as ``data.training_share`` says.

    The rows are drawn in one order for all shares of a seed, so that a smaller share is a part of a larger one. In this
    order classes alternate as their frequencies allow: the i-th row (from 0) of a class of n comes at (i + ½)/n.
    """
    import numpy as np
    import pandas as pd

    if spec.training_share == 1:
        return training
    order = np.random.default_rng([seed, 2]).permutation(training)
    if get_task(table.task).exclusive_classes:
        codes = pd.Series(pd.factorize(table.y.iloc[order].to_numpy())[0])
        classes = codes.groupby(codes)
        positions = (classes.cumcount() + 0.5) / classes.transform("size")
        order = order[np.argsort(positions.to_numpy(), kind="stable")]
    return order[: shared_rows(spec, len(training))]


def _split_all(spec: DataSpec, table: Table, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of training, validation and test, whatever share of the first is trained on."""
    import numpy as np

    if table.parts is None:
        sizes = part_sizes(spec, len(table.y))
        return _draw_parts(table, np.arange(len(table.y)), sizes, seed)
    training, *others = (np.flatnonzero(table.parts == number) for number in range(len(PARTS)))
    sizes = part_sizes(spec.model_copy(update=_fixed_shares(table)), len(training))
    training, *drawn = _draw_parts(table, training, sizes, seed)
    validation, test = (old if len(old) else new for old, new in zip(others, drawn, strict=True))
    return training, validation, test


def table_sizes(spec: DataSpec, table: Table) -> dict[str, int]:
    """Return the number of rows of each part of a table: those that it has, and those that are drawn."""
    if table.parts is None:
        return part_sizes(spec, len(table.y))
    drawn = part_sizes(spec.model_copy(update=_fixed_shares(table)), int((table.parts == 0).sum()))
    return {name: size + (int((table.parts == i).sum()) if i else 0) for i, (name, size) in enumerate(drawn.items())}


def check_table_sizes(spec: DataSpec, table: Table) -> None:
    """Check that the parts of a table are not empty, those that it has and those that are drawn.

    Raises:
        DataError: a part is empty.
    """
    if table.parts is None:
        check_sizes(spec, len(table.y))
    else:
        check_sizes(spec.model_copy(update=_fixed_shares(table)), int((table.parts == 0).sum()))


def _fixed_shares(table: Table) -> dict[str, float]:
    """Return a share of 0 for each of validation and test that the table has, so that no more rows are drawn for it."""
    assert table.parts is not None
    return {name: 0.0 for number, name in enumerate(PARTS) if number and (table.parts == number).any()}


def _draw_parts(
    table: Table, rest: np.ndarray, sizes: dict[str, int], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of training, validation and test among ``rest``, drawn with so many rows each."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    if table.order is not None:
        drawn = draw_order(table.order, rest, sizes, seed)
        return drawn["training"], drawn.get("validation", rest[:0]), drawn.get("test", rest[:0])
    parts = {}
    stratified = get_task(table.task).exclusive_classes
    rare = rest[:0]
    if stratified:
        y = table.y.iloc[rest]
        rare = rest[(y.map(y.value_counts()) < 2).to_numpy()]
        rest = np.setdiff1d(rest, rare) if len(rare) else rest
    for name in ("test", "validation"):
        parts[name] = rest[:0]
        if sizes[name]:
            classes = table.y.iloc[rest] if stratified else None
            try:
                rest, parts[name] = train_test_split(rest, test_size=sizes[name], random_state=seed, stratify=classes)
            except ValueError:
                counts = table.y.value_counts()
                raise DataError(
                    f"the classes cannot be split evenly into {', '.join(f'{v} {k}' for k, v in sizes.items())} rows: "
                    f"the smallest class, {plain_value(counts.index[-1])!r}, has {counts.iloc[-1]}; "
                    f"the task is {table.task}; for a target that is a number use data: {{task: regression}}, else "
                    "give each class more rows, or use data: {validation: 0} or {test: 0}"
                ) from None
    return (np.append(rest, rare) if len(rare) else rest), parts["validation"], parts["test"]


def _rare_classes(table: Table, training: np.ndarray) -> list[str]:
    """Return a warning for the classes that are in the training part alone."""
    if not get_task(table.task).exclusive_classes or len(training) == len(table.y):
        return []
    counts = table.y.value_counts()
    rare = [plain_value(v) for v in counts.index[counts < 2]]
    if not rare:
        return []
    names = ", ".join(repr(table.labels.get(v, v)) for v in rare[:5]) + (", …" if len(rare) > 5 else "")
    return [f"rare classes: {names} {'have' if len(rare) > 1 else 'has'} one row, in the training part alone"]


def _unseen_categories(
    table: Table, preprocessing: TablePreprocessing, parts: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> list[str]:
    """Return a warning for each column with categories that are in the other parts, and not in the training part."""
    texts = []
    for name in preprocessing.categories:
        column = table.X.rename(columns=str)[name]
        known = set(preprocessing.categories[name]["known"])
        for part, rows in zip(("validation", "test"), parts[1:], strict=True):
            count = int((~column.iloc[rows].dropna().isin(known)).sum())
            if count:
                texts.append(
                    f"{count:,} of {len(rows):,} rows of the {part} part have a {name!r} that training has not"
                )
    return texts
