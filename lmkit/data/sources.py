"""Where data comes from: each source → one table of features and a target, checked before any work starts."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data import hub, images
from lmkit.data.preprocessing import plain_value as plain_value  # known from here
from lmkit.data.store import SHAPE, TARGET, flat_frame, stored_path, with_target
from lmkit.errors import DataError, nearest
from lmkit.specs.data import BUNDLED, FILES, HUB, STORED, DataSpec, row_shape
from lmkit.specs.signature import Shape, Signature, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Table(NamedTuple):
    """Data as it came, before it is split and scaled.

    Attributes:
        X: (rows, columns) features.
        y: (rows,) target.
        task: what is predicted.
        labels: what the classes are called, where the source knows.
        shape: of a row, where it is an image or a sequence; its numbers are the columns, the last axis first.
    """

    X: pd.DataFrame
    y: pd.Series[float]
    task: Task
    labels: dict[object, str]
    shape: Shape = ()

    @property
    def signature(self) -> Signature:
        """What a model takes, each category a column of its own, and what it gives."""
        text = [c for c in self.X.columns if self.X[c].dtype == object]
        columns = self.X.shape[1] - len(text) + sum(self.X[c].nunique() for c in text)
        return Signature(self.shape or (columns,), self.y.nunique() if self.task == "multiclass" else 1, self.task)


def load(spec: DataSpec, root: str | Path | None = None) -> Table:
    """The table of ``spec``'s source; ``root`` is where the runs, and data kept beside them, are.

    Raises:
        DataError: the source does not exist or cannot be trained on; the message says why and what to do.
    """
    return _bundled(spec) if spec.source in BUNDLED else as_table(read(spec, root), spec)


def as_table(frame: pd.DataFrame, spec: DataSpec) -> Table:
    """The columns of ``frame`` as features and target, typed and checked as ``spec`` says.

    Raises:
        DataError: it cannot be trained on.
    """
    import numpy as np
    import pandas as pd

    where = shown(spec.source)
    target = check_columns(spec, frame.columns, spec.target or frame.attrs.get(TARGET), where)
    if frame.empty:
        raise DataError(f"data.source: {where} has no rows")
    X, y = frame.drop(columns=[target, *spec.drop]), frame[target]
    if y.isna().any():
        raise DataError(
            f"data.target: {target!r} is missing in {int(y.isna().sum())} of {len(y)} rows of {where}; "
            "a row without a target cannot be trained on: take those rows out"
        )
    if pd.api.types.is_float_dtype(y) and np.isinf(y).any():
        raise DataError(f"data.target: {target!r} is infinite in {int(np.isinf(y).sum())} of {len(y)} rows of {where}")
    task = predicted(spec, y, where, len(y))
    X, y = _missing(spec, typed(X, spec, where), y, where)
    if task != "regression" and y.nunique() < 2:
        raise DataError(
            f"data.target: {target!r} holds one class only ({plain_value(y.iloc[0])!r}); two or more are needed"
        )
    return _augmentable(spec, Table(X, y, task, {}, _shape(spec, frame, X)))


def check_sizes(spec: DataSpec, rows: int) -> None:
    """Checks that the parts are not empty and that a batch is no larger than the training part.

    Raises:
        DataError: they are.
    """
    sizes = part_sizes(spec, rows)
    for part, size in sizes.items():
        share = getattr(spec, part, 1)
        if share and size < 1:
            raise DataError(
                f"data.{part}: {rows} rows are too few for a part of {share:g}; give more rows, or {part}: 0"
            )
    if spec.kind != "graph" and spec.batch_size > sizes["training"]:  # a step computes a whole graph anyway
        raise DataError(
            f"data.batch_size: given {spec.batch_size}, but only {sizes['training']} of {rows} rows are left to train "
            f"on; write at most {sizes['training']}"
        )


def part_sizes(spec: DataSpec, rows: int) -> dict[str, int]:
    """Rows of each part, as the split will make them."""
    import math

    test = math.ceil(rows * spec.test - 1e-9)
    validation = math.ceil(rows * spec.validation - 1e-9)
    return {"training": rows - test - validation, "validation": validation, "test": test}


def check_columns(spec: DataSpec, columns: Iterable[Any], target: str | None, where: str) -> str:
    """Checks that the columns that ``spec`` names are there, and some to learn from; returns the target.

    Raises:
        DataError: they are not.
    """
    columns = list(columns)
    if target is None:
        raise DataError(
            f"data.target: {where} needs the column to predict; write data: {{target: …}} {nearest('target', columns)}"
        )
    if target not in columns:
        raise DataError(f"data.target: {where} has no column {target!r}; {nearest(target, columns)}")
    for field in ("drop", "categorical"):
        for name in getattr(spec, field):
            if name not in columns:
                raise DataError(f"data.{field}: {where} has no column {name!r}; {nearest(name, columns)}")
    if not set(columns) - {target, *spec.drop}:
        raise DataError(f"data.source: {where} has no column besides the target {target!r}")
    return target


def _augmentable(spec: DataSpec, table: Table) -> Table:
    """The table, unless its rows cannot be changed as ``spec`` asks for."""
    shape = table.signature.shape if spec.augment else ()
    if spec.augment and (problem := spec.augment.problem(shape)):
        raise DataError(problem)
    return table


def _bundled(spec: DataSpec) -> Table:
    import pandas as pd

    bunch = getattr(importlib.import_module("sklearn.datasets"), f"load_{spec.source}")(as_frame=True)
    for field in ("drop", "categorical"):
        for name in getattr(spec, field):
            if name not in bunch.data.columns:
                raise DataError(
                    f"data.{field}: {spec.source} has no column {name!r}; {nearest(name, bunch.data.columns)}"
                )
    task = BUNDLED[spec.source].task
    names = [str(n) for n in getattr(bunch, "target_names", [])] if task != "regression" else []
    X = pd.DataFrame(bunch.data).drop(columns=list(spec.drop))
    for name in spec.categorical:
        X[name] = category_names(X[name])
    shape = spec.signature.shape if spec.signature else ()
    shape = shape if len(shape) > 1 else ()
    return _augmentable(spec, Table(X, pd.Series(bunch.target), task, dict(enumerate(names)), shape))


def read(spec: DataSpec, root: str | Path | None = None) -> pd.DataFrame:
    """What lies at ``spec``'s source, before any of it is looked at."""
    import numpy as np
    import pandas as pd

    if spec.source.startswith(STORED):
        path = stored_path(spec.source, root)
        if not path.is_file():
            raise DataError(f"data.source: {spec.source} is not kept beside these runs; hand the data over again")
        return pd.read_parquet(path)
    if spec.source.startswith(HUB):
        return hub.read(spec)
    path = Path(spec.source).expanduser()
    if path.is_dir():
        return images.folder_table(path, spec.size)
    if not spec.is_file:
        raise DataError(
            f"data.source: given {spec.source!r}, {nearest(spec.source, BUNDLED)}; "
            f"or a file that ends in {', '.join(FILES)}, a folder of images, or {HUB}NAME"
        )
    if not path.is_file():
        raise DataError(f"data.source: there is no file {spec.source!r}; the current folder is {str(Path.cwd())!r}")
    try:
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path)
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        with np.load(path, allow_pickle=False) as arrays:
            return _from_arrays(dict(arrays), spec)
    except DataError:
        raise
    except pd.errors.EmptyDataError:
        raise DataError(f"data.source: {spec.source!r} has no rows") from None
    except Exception as error:
        raise DataError(f"data.source: {spec.source!r} cannot be read: {error}") from None


def _shape(spec: DataSpec, frame: pd.DataFrame, X: pd.DataFrame) -> Shape:
    """The shape of a row where it is an image or a sequence, and all of it is there; else empty."""
    given = tuple(int(n) for n in frame.attrs.get(SHAPE, ()))
    whole = len(given) > 1 and math.prod(given) == X.shape[1] and not spec.categorical
    shape = row_shape(given if whole else (X.shape[1],), spec.axes)
    return shape if whole else ()


def _from_arrays(arrays: dict[str, np.ndarray], spec: DataSpec) -> pd.DataFrame:
    target = spec.target or "y"
    if "X" not in arrays or target not in arrays:
        raise DataError(
            f"data.source: {spec.source!r} holds the arrays {', '.join(arrays) or 'none'}; "
            f"expected X (rows, features) or (rows, height, width, channels) and {target} (rows,)"
        )
    X, y = arrays["X"], arrays[target]
    if X.ndim not in (2, 3, 4) or y.reshape(-1).shape[0] != X.shape[0]:
        raise DataError(
            f"data.source: {spec.source!r} holds X of shape {X.shape} and {target} of shape {y.shape}; "
            "expected (rows, features), (rows, length, channels) or (rows, height, width, channels), and (rows,)"
        )
    return with_target(flat_frame(X), target, y.reshape(-1))


def predicted(spec: DataSpec, y: pd.Series[Any], where: str, rows: int) -> Task:
    """What is predicted: as configured, else by what the target ``y`` holds, or its different values in ``rows``."""
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(y) and not pd.api.types.is_bool_dtype(y)
    classes = y.nunique()
    if spec.task == "regression" and not numeric:
        raise DataError(
            f"data.task: regression needs numbers, and the target of {where} holds text such as {y.iloc[0]!r}"
        )
    if spec.task == "binary" and classes > 2:
        raise DataError(f"data.task: given binary, but the target of {where} holds {classes} classes; write multiclass")
    if spec.task == "multiclass" and classes == 2:
        raise DataError(f"data.task: given multiclass, but the target of {where} holds two classes; write binary")
    if spec.task != "auto":
        return spec.task
    if numeric and ((y % 1 != 0).any() or classes > max(20, 0.05 * rows)):
        return "regression"
    return "binary" if classes <= 2 else "multiclass"


def typed(X: pd.DataFrame, spec: DataSpec, where: str) -> pd.DataFrame:
    """Numbers as floats, categories as text; text among numbers is refused."""
    import numpy as np
    import pandas as pd

    columns = {}
    for name in X.columns:
        column = X[name]
        if name in spec.categorical:
            columns[name] = category_names(column)
        elif pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            columns[name] = column.astype(np.float64)
            infinite = int(np.isinf(columns[name]).sum())
            if infinite:
                raise DataError(f"column {name!r} of {where} holds {infinite} infinite values; numbers are needed")
        elif pd.api.types.is_datetime64_any_dtype(column):
            raise DataError(
                f"column {name!r} of {where} holds dates; make numbers of them, or write data: {{drop: [{name}]}}"
            )
        else:
            columns[name] = _text(column, name, where)
    return pd.DataFrame(columns)


def _text(column: pd.Series[str], name: str, where: str) -> pd.Series[str]:
    """A column of text as categories, unless it is numbers with text among them, or names of single rows."""
    import pandas as pd

    present = column.dropna().map(str)
    stray = present[pd.to_numeric(present, errors="coerce").isna()]
    if 0 < len(stray) < 0.5 * len(present):
        raise DataError(
            f"column {name!r} of {where} holds text in {len(stray)} of {len(present)} numbers, first {stray.iloc[0]!r} "
            f"in row {stray.index[0]}; mend it, or write data: {{categorical: [{name}]}} or {{drop: [{name}]}}"
        )
    if present.nunique() > max(20, 0.5 * len(present)):
        raise DataError(
            f"column {name!r} of {where} holds {present.nunique()} different texts in {len(present)} rows, too many to "
            f"learn from as categories; write data: {{drop: [{name}]}}"
        )
    return category_names(column)


def category_names(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column's values as the names of categories: a whole number is the same one as an integer and as a float."""
    return column.map(lambda v: str(plain_value(v)), na_action="ignore").astype(object)


def _missing(spec: DataSpec, X: pd.DataFrame, y: pd.Series[float], where: str) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Applies the policy for missing values as far as it concerns rows."""
    gaps = X.isna().sum()
    gaps = gaps[gaps > 0]
    if gaps.empty:
        return X, y
    if spec.missing == "error":
        raise DataError(
            f"{where} misses {int(gaps.sum())} values ({', '.join(f'{n}: {c}' for n, c in gaps.items())}); "
            "say what to do: data: {missing: drop}, or mean, median, most_frequent"
        )
    if spec.missing == "drop":
        whole = X.notna().all(axis=1)
        if not whole.any():
            raise DataError(f"every row of {where} misses a value; write data: {{missing: median}}, or drop columns")
        return X[whole].reset_index(drop=True), y[whole].reset_index(drop=True)
    empty = [str(n) for n in X.columns if X[n].isna().all()]
    if empty:
        raise DataError(f"column {empty[0]!r} of {where} is empty; write data: {{drop: [{', '.join(empty)}]}}")
    return X, y


def shown(source: str) -> str:
    """What a message calls a source."""
    return "the data" if source.startswith(STORED) else repr(source)
