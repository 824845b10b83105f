"""Tables larger than memory: read piece by piece, prepared once into files, and trained on from there.

file ──> pieces of rows ──> count ──> fit on the training rows ──> prepared rows in .npy files, mapped

Each arrow is one pass over the file. A piece is a fixed number of rows, so that nothing depends on how the file was
written, and no pass holds more than one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lmkit.data.batches import Gathered, Part
from lmkit.data.preparation import Dataset, Preprocessing, augmented
from lmkit.data.sources import (
    category_names,
    check_columns,
    check_sizes,
    part_sizes,
    plain_value,
    predicted,
    typed,
)
from lmkit.data.store import FOLDER
from lmkit.errors import DataError
from lmkit.runfolder import runs_root
from lmkit.specs.data import DataSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PIECE = 2**14
"""Rows that are held at once, as a dozen copies at most while they are prepared."""

MOST = 1_000
"""Categories of a column, or classes, at most; a number with more values is a target of regression."""

PARTS = ("training", "validation", "test")


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """As ``lmkit.data.preparation.prepare``, in bounded memory; the parts are mapped from files beside the runs.

    The parts are drawn by ``seed``, of the same sizes as of a table in memory, but not stratified. What is prepared
    stays in ``.data`` and serves every run of the same file, preparation, seed and precision.

    Raises:
        DataError: it cannot be trained on.
    """
    import numpy as np

    check(spec)
    folder = runs_root(root) / FOLDER / _digest(spec, seed, precision)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f"{folder.name}.{os.getpid()}.{secrets.token_hex(2)}")
        aside.mkdir()
        try:
            _write(spec, seed, precision, aside)
            if not folder.is_dir():
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    known = Preprocessing(**json.loads((folder / "preprocessing.json").read_text(encoding="utf-8")))
    training, validation, test = (
        Part(*(np.load(folder / f"{part}-{name}.npy", mmap_mode="r") for name in "Xy")) for part in PARTS
    )
    batches = augmented(spec, training, known, seed) or Gathered(training, spec.batch_size)
    return Dataset(training, validation, test, known, batches)


def check(spec: DataSpec) -> None:
    """Refuses what can be told from the names of the columns and the number of rows, which are read at once.

    Raises:
        DataError: a column is not there, the file cannot be read, or there are too few rows.
    """
    names, rows = contents(spec)
    target = check_columns(spec, names, spec.target, repr(spec.source))
    if spec.missing in ("median", "most_frequent"):
        raise DataError(
            f"data.missing: {spec.missing} needs all values of a column at once, and {spec.source!r} is read piece by "
            "piece; write data: {missing: mean} or {missing: drop}, or {streaming: off} if it fits in memory"
        )
    if spec.augment and (problem := spec.augment.problem((len(set(names) - {target, *spec.drop}),))):
        raise DataError(problem)
    if rows is not None:
        if not rows:
            raise DataError(f"data.source: {spec.source!r} has no rows")
        check_sizes(spec, rows)


def contents(spec: DataSpec) -> tuple[list[str], int | None]:
    """The names of the columns, and the number of rows where the file tells it (Parquet).

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    path = Path(spec.source).expanduser()
    if not path.is_file():
        raise DataError(f"data.source: there is no file {spec.source!r}; the current folder is {str(Path.cwd())!r}")
    try:
        if path.suffix.lower() == ".parquet":
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path) as file:
                return list(file.schema_arrow.names), file.metadata.num_rows
        import pandas as pd

        return [str(name) for name in pd.read_csv(path, nrows=0).columns], None
    except Exception as error:
        raise DataError(f"data.source: {spec.source!r} cannot be read: {error}") from None


def split_pieces(spec: DataSpec, rows: int, seed: int) -> Iterator[np.ndarray]:
    """For each piece, the part of each row: 0 training, 1 validation, 2 test, in all as many as ``part_sizes`` says.

    Every choice of parts is equally likely: how many rows of a piece fall to each part is drawn from a hypergeometric
    distribution over what is left, and which they are by shuffling.

    >>> parts = list(split_pieces(DataSpec(source="a.csv"), 100_000, seed=0))
    >>> [len(p) for p in parts], sum(int((p == 0).sum()) for p in parts)
    ([16384, 16384, 16384, 16384, 16384, 16384, 1696], 60000)
    """
    import numpy as np

    draw = np.random.default_rng([seed, 4])
    left = np.array(list(part_sizes(spec, rows).values()))
    while left.sum():
        taken = draw.multivariate_hypergeometric(left, min(PIECE, int(left.sum())))
        left -= taken
        yield draw.permutation(np.repeat(np.arange(3), taken))


# -- the passes -----------------------------------------------------------------------------------


def _write(spec: DataSpec, seed: int, precision: str, folder: Path) -> None:
    """Prepares all rows into ``folder``."""
    import numpy as np

    rows, values = _counted(spec)
    check_sizes(spec, rows)
    known = _fitted(spec, rows, seed, values)
    sizes = part_sizes(spec, rows)
    y_type = np.dtype(np.int64 if known.task == "multiclass" else precision)
    y_shape: tuple[int, ...] = () if known.task == "multiclass" else (1,)
    files = {}
    try:
        for part in PARTS:
            size = sizes[part]
            files[part] = (
                _array_file(folder / f"{part}-X.npy", (size, len(known.features)), np.dtype(precision)),
                _array_file(folder / f"{part}-y.npy", (size, *y_shape), y_type),
            )
        for (X, y), parts in zip(_pieces(spec), split_pieces(spec, rows, seed), strict=True):
            for number, part in enumerate(PARTS):
                if (chosen := parts == number).any():
                    X_file, y_file = files[part]
                    X_file.write(known.apply(X[chosen]).astype(precision).tobytes())
                    y_file.write(known.encode(y[chosen]).astype(y_type).tobytes())
    finally:
        for pair in files.values():
            for file in pair:
                file.close()
    (folder / "preprocessing.json").write_text(json.dumps(known.to_dict()), encoding="utf-8")


def _counted(spec: DataSpec) -> tuple[int, pd.Series[Any]]:
    """Rows in all, and the different values of the target (more than ``MOST`` only of numbers)."""
    import pandas as pd

    rows, values = 0, None
    for y in (y for _, y in _pieces(spec)) if spec.missing == "drop" else _targets(spec):
        rows += len(y)
        if values is None or len(values) <= MOST or not pd.api.types.is_numeric_dtype(y):
            found = y.drop_duplicates()
            values = found if values is None else pd.concat([values, found]).drop_duplicates()
            if len(values) > MOST and not pd.api.types.is_numeric_dtype(y):
                raise DataError(
                    f"data.target: more than {MOST} different texts in {spec.source!r}, too many for classes"
                )
    if values is None:
        raise DataError(f"data.source: {spec.source!r} has no rows")
    return rows, values


def _fitted(spec: DataSpec, rows: int, seed: int, values: pd.Series[Any]) -> Preprocessing:
    """What scales, fills and encodes, fitted on the training rows, with scikit-learn's ``partial_fit``."""
    import numpy as np
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    where = repr(spec.source)
    task = predicted(spec, values, where, rows)
    if task == "multiclass" and len(values) > MOST:
        raise DataError(f"data.target: more than {MOST} classes in {where}; write data: {{task: regression}}")
    if task != "regression" and len(values) < 2:
        raise DataError(f"data.target: {where} holds one class only ({values.iloc[0]!r}); two or more are needed")
    standard, bounds, target = StandardScaler(), MinMaxScaler(), StandardScaler()
    filled = spec.missing == "mean"
    scalers = [*([standard] if filled or spec.scale == "standard" else []), *([bounds] * (spec.scale == "minmax"))]
    texts: dict[str, set[str]] = {}
    numeric: list[Any] = []
    names: list[Any] = []
    for (X, y), parts in zip(_pieces(spec), split_pieces(spec, rows, seed), strict=True):
        X, y, names = X[parts == 0], y[parts == 0], list(X.columns)
        numeric = [c for c in names if X[c].dtype != object]
        for fitted in scalers if numeric and len(X) else ():
            fitted.partial_fit(X[numeric].to_numpy())
        for name in (c for c in names if c not in numeric):
            texts.setdefault(name, set()).update(X[name].dropna().unique())
            if len(texts[name]) > MOST:
                raise DataError(
                    f"column {name!r} of {where} holds more than {MOST} different texts, too many to learn from as "
                    f"categories; write data: {{drop: [{name}]}}"
                )
        if task == "regression" and spec.scale_target and len(y):
            target.partial_fit(y.to_numpy(dtype=np.float64)[:, None])
    shift, scale = np.zeros(len(numeric)), np.ones(len(numeric))
    if numeric and spec.scale == "standard":
        # a missing value is filled with the mean, and then counts among those that spread about it
        seen = standard.n_samples_seen_ / part_sizes(spec, rows)["training"]
        spread = np.sqrt(standard.var_)
        shift, scale = standard.mean_, np.where(standard.scale_ == spread, spread * np.sqrt(seen), standard.scale_)
    elif numeric and spec.scale == "minmax":
        shift, scale = bounds.data_min_, 1 / bounds.scale_
    fill: list[float | None] = standard.mean_.tolist() if numeric and filled else [None] * len(numeric)
    empty = [str(n) for n, f in zip(numeric, fill, strict=True) if f is not None and np.isnan(f)]
    if empty:
        raise DataError(
            f"column {empty[0]!r} has no value in the training part; write data: {{drop: [{', '.join(empty)}]}}"
        )
    classes = [] if task == "regression" else [plain_value(v) for v in sorted(values)]
    scaled = {"shift": 0.0, "scale": 1.0}
    if task == "regression" and spec.scale_target:
        scaled = {"shift": float(target.mean_[0]), "scale": float(target.scale_[0])}
    numbers = {
        str(n): {"fill": f, "shift": float(m), "scale": float(s)}
        for n, f, m, s in zip(numeric, fill, shift, scale, strict=True)
    }
    categories = {str(n): {"fill": "", "known": sorted(known)} for n, known in texts.items()}
    return Preprocessing(task, numbers, categories, [str(n) for n in names], classes, [str(c) for c in classes], scaled)


def _pieces(spec: DataSpec) -> Iterator[tuple[pd.DataFrame, pd.Series[Any]]]:
    """Features and target, ``PIECE`` rows at a time, typed; rows that are to be dropped are gone."""
    import pandas as pd

    where = repr(spec.source)
    target = str(spec.target)
    wanted = [name for name in contents(spec)[0] if name == target or name not in spec.drop]
    texts: set[Any] = set()
    waiting: list[tuple[pd.DataFrame, pd.Series[Any]]] = []
    rows = 0
    for number, frame in enumerate(_read(spec, wanted)):
        y, X = _target(frame, spec), frame.drop(columns=target)
        if number == 0:  # looked at as closely as a table in memory; it decides what is a number
            if spec.source.lower().endswith(".csv"):
                _refuse_stray(X, spec, where)
            X = typed(X, spec, where)
            texts = {c for c in X.columns if X[c].dtype == object}
        else:
            X = _typed(X, texts, where)
        gaps = X.isna()
        if spec.missing == "drop":
            whole = ~gaps.any(axis=1)
            X, y = X[whole], y[whole]
        elif gaps.any(axis=None) and spec.missing == "error":
            raise DataError(
                f"{where} misses values ({', '.join(map(str, gaps.columns[gaps.any()]))}); say what to do: "
                "data: {missing: drop}, or mean"
            )
        elif spec.missing == "mean" and any(gaps[c].any() for c in X.columns if X[c].dtype == object):
            raise DataError(f"{where} misses categories, which have no mean; write data: {{missing: drop}}")
        if not rows and len(y) == PIECE:
            yield X, y
            continue
        waiting.append((X, y))
        rows += len(y)
        if rows >= PIECE:
            X, y = (pd.concat(parts) for parts in zip(*waiting, strict=True))
            for start in range(0, rows - PIECE + 1, PIECE):
                yield X.iloc[start : start + PIECE], y.iloc[start : start + PIECE]
            kept = rows - rows % PIECE
            waiting, rows = [(X.iloc[kept:], y.iloc[kept:])], rows - kept
    if rows:
        X, y = (pd.concat(parts) for parts in zip(*waiting, strict=True))
        yield X, y


def _refuse_stray(X: pd.DataFrame, spec: DataSpec, where: str) -> None:
    """Refuses a column of which all that is seen is numbers, and that was read as text because of what comes later."""
    import pandas as pd

    for name in X.columns:
        column = X[name].dropna()
        text = name not in spec.categorical and len(column) and pd.api.types.is_string_dtype(column)
        if text and pd.to_numeric(column, errors="coerce").notna().all():
            raise _stray(name, where)


def _stray(name: Any, where: str) -> DataError:
    return DataError(
        f"column {name!r} of {where} holds text among its numbers; mend it, or write data: "
        f"{{categorical: [{name}]}} or {{drop: [{name}]}}"
    )


def _targets(spec: DataSpec) -> Iterator[pd.Series[Any]]:
    """The target alone."""
    for frame in _read(spec, [str(spec.target)]):
        yield _target(frame, spec)


def _target(frame: pd.DataFrame, spec: DataSpec) -> pd.Series[Any]:
    y = frame[spec.target]
    if y.isna().any():
        raise DataError(
            f"data.target: {spec.target!r} is missing in rows of {spec.source!r}; a row without a target cannot be "
            "trained on: take those rows out"
        )
    return y


def _typed(X: pd.DataFrame, texts: set[Any], where: str) -> pd.DataFrame:
    """Numbers as floats, and the columns ``texts`` as categories."""
    import numpy as np
    import pandas as pd

    columns = {}
    for name in X.columns:
        if name in texts:
            columns[name] = category_names(X[name])
            continue
        try:
            columns[name] = X[name].astype(np.float64)
        except (TypeError, ValueError):
            raise _stray(name, where) from None
        if np.isinf(columns[name]).any():
            raise DataError(f"column {name!r} of {where} holds infinite values; numbers are needed")
    return pd.DataFrame(columns, index=X.index)


def _read(spec: DataSpec, wanted: list[str]) -> Iterator[pd.DataFrame]:
    """The file's own rows, up to ``PIECE`` at a time, of the columns that are ``wanted``."""
    path = Path(spec.source).expanduser()
    try:
        if path.suffix.lower() == ".parquet":
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(PIECE, columns=wanted, use_threads=False):
                    yield batch.to_pandas()
            return
        from pyarrow import csv

        # the types are those of the first block, as of a table in memory those of all rows
        convert = csv.ConvertOptions(include_columns=wanted, strings_can_be_null=True)
        with csv.open_csv(path, csv.ReadOptions(block_size=2**24, use_threads=False), convert_options=convert) as file:
            for batch in file:
                for start in range(0, batch.num_rows, PIECE):
                    yield batch.slice(start, PIECE).to_pandas()
    except DataError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own are these
        raise DataError(f"data.source: {spec.source!r} cannot be read: {error}") from None


# -- files ----------------------------------------------------------------------------------------


def _array_file(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> BinaryIO:
    """An .npy file whose numbers are written one after the other: pages of a mapped one would count as memory."""
    import numpy as np

    file = path.open("wb")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _digest(spec: DataSpec, seed: int, precision: str) -> str:
    """What the prepared rows depend on."""
    path = Path(spec.source).expanduser().resolve()
    stamp = path.stat()
    fields = spec.model_dump(exclude={"source", "batch_size", "augment", "streaming", "size", "axes", "text"})
    told = json.dumps([str(path), stamp.st_size, stamp.st_mtime_ns, fields, seed, precision, PIECE])
    return hashlib.sha256(told.encode()).hexdigest()[:24]
