"""Tables larger than memory: read piece by piece, and prepared once into files, which training maps.

file ──> pieces of rows ──> count ──> fit on the training rows ──> prepared rows in .npy files, mapped

Each arrow is one pass over the file. A piece is a fixed number of rows, so that the result does not depend on the
layout of the file, and each pass holds one piece at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.batches import GatheredBatches, Part
from lmkit.data.dataset import Dataset
from lmkit.data.tables.array_files import open_array_file
from lmkit.data.tables.columns import MISSING, Columns
from lmkit.data.tables.fit import augmented_batches
from lmkit.data.tables.memory import FOLDER
from lmkit.data.tables.pieces import PIECE_ROWS, infer_features, iter_pieces, iter_targets, read_header
from lmkit.data.tables.sources import check_sizes, part_sizes
from lmkit.data.tables.table import check_columns, find_task
from lmkit.exceptions import DataError, join_names
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.runfolder.folder import runs_root
from lmkit.specs.data import DataSpec
from lmkit.specs.inference import Target
from lmkit.specs.tasks import get_task
from lmkit.specs.values import plain_value
from lmkit.system.files import replace_directory
from lmkit.system.numbers import to_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_CATEGORIES = 1_000
"""Categories of a column, or classes, at most; a numeric target with more values is regression."""

PARTS = ("training", "validation", "test")

NOTES = "notes.json"
"""The file of what was inferred about the data."""

FORMAT = 3
"""The format of the prepared files; a change makes new ones."""


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """Prepare a table in bounded memory; the parts are mapped from files in the runs folder.

    The parts are drawn by ``seed``, with the sizes of a table in memory, but not stratified. The prepared files are
    cached in ``.data`` for every run with the same file, preparation, seed and precision.

    Raises:
        DataError: the table cannot be trained on.
    """
    import numpy as np

    check(spec)
    folder = runs_root(root) / FOLDER / _digest(spec, seed, precision)
    if not folder.is_dir():
        with replace_directory(folder, existing="keep") as temporary_folder:
            _write(spec, seed, precision, temporary_folder)
    values = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    preprocessing = TablePreprocessing.from_dict(values)
    training, validation, test = (
        Part(*(np.load(folder / f"{part}-{name}.npy", mmap_mode="r") for name in "Xy")) for part in PARTS
    )
    batches = augmented_batches(spec, training, preprocessing, seed) or GatheredBatches(training, spec.batch_size)
    record = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    notes, warnings = (tuple(record[name]) for name in ("notes", "warnings"))
    return Dataset(training, validation, test, preprocessing, batches, notes, warnings)


def check(spec: DataSpec) -> None:
    """Check the names of the columns and the number of rows, without reading the rows.

    Raises:
        DataError: a column does not exist, the file cannot be read, or there are too few rows.
    """
    names, rows = read_header(spec)
    target = check_columns(spec, names, spec.target, repr(spec.source))
    if spec.missing in ("median", "most_frequent"):
        raise DataError(
            f"data.missing: {spec.missing} needs all values of a column at once, and {spec.source!r} is read piece by "
            "piece; use data: {missing: mean} or {missing: drop}, or {streaming: off} if it fits in memory"
        )
    for field in ("group", "time"):
        if getattr(spec, field) is not None:
            raise DataError(
                f"data.{field}: needs all rows at once, and {spec.source!r} is read piece by piece; use data: "
                "{streaming: off} if it fits in memory"
            )
    if spec.augment and (problem := spec.augment.problem((len(set(names) - {target, *spec.drop}),))):
        raise DataError(problem)
    if rows is not None:
        if not rows:
            raise DataError(f"data.source: {spec.source!r} has no rows")
        check_sizes(spec, rows)


def split_pieces(spec: DataSpec, rows: int, seed: int) -> Iterator[np.ndarray]:
    """Iterate over the pieces; yield the part of each row: 0 training, 1 validation, 2 test, ``part_sizes`` in total.

    Every split is equally likely: the number of rows of a piece in each part is drawn from a hypergeometric
    distribution over the remaining rows, and their positions by shuffling.

    >>> parts = list(split_pieces(DataSpec(source="a.csv"), 100_000, seed=0))
    >>> [len(p) for p in parts], sum(int((p == 0).sum()) for p in parts)
    ([16384, 16384, 16384, 16384, 16384, 16384, 1696], 60000)
    """
    import numpy as np

    draw = np.random.default_rng([seed, 4])
    remaining = np.array(list(part_sizes(spec, rows).values()))
    while remaining.sum():
        counts = draw.multivariate_hypergeometric(remaining, min(PIECE_ROWS, int(remaining.sum())))
        remaining -= counts
        yield draw.permutation(np.repeat(np.arange(3), counts))


# -- the passes -----------------------------------------------------------------------------------


def _write(spec: DataSpec, seed: int, precision: str, folder: Path) -> None:
    """Prepare all rows into ``folder``."""
    import numpy as np

    columns = infer_features(spec)
    rows, values = _count(spec, columns)
    check_sizes(spec, rows)
    preprocessing, notes = _fit(spec, columns, rows, seed, values)
    sizes = part_sizes(spec, rows)
    task = get_task(preprocessing.task)
    y_type = np.dtype(np.int64 if task.integer_targets else precision)
    y_shape = task.target_shape(preprocessing.outputs)
    files = {}
    try:
        for part in PARTS:
            size = sizes[part]
            files[part] = (
                open_array_file(folder / f"{part}-X.npy", (size, len(preprocessing.features)), np.dtype(precision)),
                open_array_file(folder / f"{part}-y.npy", (size, *y_shape), y_type),
            )
        for (X, y), parts in zip(iter_pieces(spec, columns), split_pieces(spec, rows, seed), strict=True):
            for number, part in enumerate(PARTS):
                if (mask := parts == number).any():
                    X_file, y_file = files[part]
                    X_file.write(preprocessing.apply_parsed(X[mask]).astype(precision).tobytes())
                    y_file.write(preprocessing.encode(y[mask]).astype(y_type).tobytes())
    finally:
        for pair in files.values():
            for file in pair:
                file.close()
    (folder / "preprocessing.json").write_text(to_json(preprocessing.to_dict()), encoding="utf-8")
    (folder / NOTES).write_text(json.dumps({"notes": notes, "warnings": columns.warnings}), encoding="utf-8")


def _count(spec: DataSpec, columns: Columns) -> tuple[int, pd.Series[Any]]:
    """Return the number of rows, and the distinct values of the target (beyond ``MAX_CATEGORIES`` only of numbers)."""
    import pandas as pd

    rows, values = 0, None
    for y in (y for _, y in iter_pieces(spec, columns)) if spec.missing == "drop" else iter_targets(spec, columns):
        rows += len(y)
        if values is None or len(values) <= MAX_CATEGORIES or not pd.api.types.is_numeric_dtype(y):
            distinct = y.drop_duplicates()
            values = distinct if values is None else pd.concat([values, distinct]).drop_duplicates()
            if len(values) > MAX_CATEGORIES and not pd.api.types.is_numeric_dtype(y):
                raise DataError(
                    f"data.target: more than {MAX_CATEGORIES} different texts in {spec.source!r}, too many for classes"
                )
    if values is None:
        raise DataError(f"data.source: {spec.source!r} has no rows")
    return rows, values


def _fit(
    spec: DataSpec, columns: Columns, rows: int, seed: int, values: pd.Series[Any]
) -> tuple[TablePreprocessing, tuple[str, ...]]:
    """Fit scaling, fill values and categories on the training rows, with scikit-learn's ``partial_fit``.

    Returns:
        The preprocessing, and what was inferred, a sentence each.
    """
    import numpy as np
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    source = repr(spec.source)
    summary = Target.of(values, rows, more=len(values) > MAX_CATEGORIES)
    name, notes = find_task(spec, summary, values.iloc[0], source)
    task = get_task(name)
    if task.has_classes and len(values) > MAX_CATEGORIES:
        raise DataError(f"data.target: more than {MAX_CATEGORIES} classes in {source}; use data: {{task: regression}}")
    if task.has_classes and len(values) < 2:
        raise DataError(f"data.target: {source} has only one class ({values.iloc[0]!r}); expected two or more")
    standard, bounds, target = StandardScaler(), MinMaxScaler(), StandardScaler()
    is_filled = spec.missing == "mean"
    scalers = [*([standard] if is_filled or spec.scale == "standard" else []), *([bounds] * (spec.scale == "minmax"))]
    texts: dict[str, set[str]] = {}
    numeric: list[Any] = []
    for (X, y), parts in zip(iter_pieces(spec, columns), split_pieces(spec, rows, seed), strict=True):
        X, y = X[parts == 0], y[parts == 0]
        numeric = [c for c in X.columns if c not in columns.categories]
        for scaler in scalers if numeric and len(X) else ():
            scaler.partial_fit(X[numeric].to_numpy())
        for column in columns.categories:
            texts.setdefault(column, set()).update(X[column].dropna().unique())
            if len(texts[column]) > MAX_CATEGORIES:
                raise DataError(
                    f"column {column!r} of {source} has more than {MAX_CATEGORIES} different texts, too many "
                    f"categories to learn from; use data: {{drop: [{column}]}}"
                )
        if task.numeric and spec.scale_target and len(y):
            target.partial_fit(y.to_numpy(dtype=np.float64)[:, None])
    shift, scale = np.zeros(len(numeric)), np.ones(len(numeric))
    if numeric and spec.scale == "standard":
        # filled values equal the mean, and count in the deviation
        present = standard.n_samples_seen_ / part_sizes(spec, rows)["training"]
        spread = np.sqrt(standard.var_)
        shift, scale = standard.mean_, np.where(standard.scale_ == spread, spread * np.sqrt(present), standard.scale_)
    elif numeric and spec.scale == "minmax":
        shift, scale = bounds.data_min_, 1 / bounds.scale_
    fill: list[float | None] = standard.mean_.tolist() if numeric and is_filled else [None] * len(numeric)
    empty = [str(n) for n, f in zip(numeric, fill, strict=True) if f is not None and np.isnan(f)]
    if empty:
        raise DataError(
            f"column {empty[0]!r} has no value in the training part; use data: {{drop: [{join_names(empty)}]}}"
        )
    classes = [plain_value(v) for v in task.class_values(values)]
    scaled = {"shift": 0.0, "scale": 1.0}
    if task.numeric and spec.scale_target:
        scaled = {"shift": float(target.mean_[0]), "scale": float(target.scale_[0])}
    numbers = {
        str(n): {"fill": f, "shift": float(m), "scale": float(s)}
        for n, f, m, s in zip(numeric, fill, shift, scale, strict=True)
    }
    categories = {
        str(n): {"fill": MISSING if MISSING in values_ else "", "known": sorted(values_)}
        for n, values_ in texts.items()
    }
    formats = {str(n): column_format for n, column_format in columns.formats.items()}
    names = [str(n) for n in columns.names]
    labels = [str(c) for c in classes]
    signs = {str(n): columns.missing_values[n] for n in columns.names if n in columns.missing_values}
    preprocessing = TablePreprocessing(
        name, numbers, categories, names, classes, labels, scaled, formats=formats, missing_values=signs
    )
    return preprocessing, (*notes, *columns.notes)


def _digest(spec: DataSpec, seed: int, precision: str) -> str:
    """Return a hash of everything that the prepared rows depend on."""
    path = Path(spec.source).expanduser().resolve()
    stamp = path.stat()
    fields = spec.model_dump(exclude={"source", "batch_size", "augment", "streaming", "size", "axes", "text"})
    key = json.dumps([str(path), stamp.st_size, stamp.st_mtime_ns, fields, seed, precision, PIECE_ROWS, FORMAT])
    return hashlib.sha256(key.encode()).hexdigest()[:24]
