"""Sources of data: each is read as one table of features and a target, and checked before training starts."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.data.tables import hub, images
from lmkit.data.tables.columns import category_names
from lmkit.data.tables.files import read_file
from lmkit.data.tables.memory import flat_frame, stored_path, with_target
from lmkit.data.tables.parts import part_files, read_part_files
from lmkit.data.tables.size import check_memory
from lmkit.data.tables.table import Table, as_table, check_augmentation
from lmkit.exceptions import DataError, LmkitError, join_names, nearest, shorten
from lmkit.specs.data import BUNDLED, HUB, STORED, DataSpec
from lmkit.specs.file_names import FILE_NAMES
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_tables: ContextVar[dict[tuple[str, str], Table] | None] = ContextVar("_tables", default=None)
"""What was loaded in a ``load_once`` block, and is not used again yet: fields and path of the source → table."""


@contextlib.contextmanager
def load_once() -> Iterator[None]:
    """Let every second ``load`` of a source return the table of the first meanwhile: it is checked, and then used."""
    token = _tables.set({})
    try:
        yield
    finally:
        _tables.reset(token)


def load(spec: DataSpec, root: str | Path | None = None) -> Table:
    """Read the source of ``spec`` as a table; ``root`` is the folder of the runs, which contains stored data.

    Raises:
        DataError: the source does not exist or cannot be trained on; the message says why and what to do.
    """
    if spec.source in BUNDLED:
        return _load_bundled(spec)
    tables = _tables.get()
    if tables is None:
        return as_table(read(spec, root), spec)
    path = str(stored_path(spec.source, root).resolve()) if spec.source.startswith(STORED) else ""
    key = spec.model_dump_json(), path
    table = tables.pop(key, None)
    if table is None:
        table = tables[key] = as_table(read(spec, root), spec)
    return table


def check_sizes(spec: DataSpec, rows: int) -> None:
    """Check that the parts are not empty.

    Raises:
        DataError: a part is empty.
    """
    sizes = part_sizes(spec, rows)
    for part, size in sizes.items():
        share = getattr(spec, part, 1)
        if share and size < 1:
            raise DataError(
                f"data.{part}: {rows} rows are too few for a share of {share:g}; use more rows, or {part}: 0"
            )


def part_sizes(spec: DataSpec, rows: int) -> dict[str, int]:
    """Return the number of rows of each part; of the training part those that are trained on."""
    test = math.ceil(rows * spec.test - 1e-9)
    validation = math.ceil(rows * spec.validation - 1e-9)
    return {"training": shared_rows(spec, rows - test - validation), "validation": validation, "test": test}


def shared_rows(spec: DataSpec, rows: int) -> int:
    """Return how many of the rows of the training part are trained on, as ``data.training_share`` says."""
    return max(1, round(rows * spec.training_share)) if rows > 0 else rows


def _load_bundled(spec: DataSpec) -> Table:
    import pandas as pd

    bunch = getattr(importlib.import_module("sklearn.datasets"), f"load_{spec.source}")(as_frame=True)
    for field in ("drop", "categorical", "ids"):
        for name in getattr(spec, field) or ():
            if name not in bunch.data.columns:
                raise DataError(
                    f"data.{field}: {spec.source} has no column {name!r}; "
                    f"{nearest(name, bunch.data.columns, 'columns:')}"
                )
    task = BUNDLED[spec.source].task if spec.task == "auto" else spec.task
    names = [str(n) for n in getattr(bunch, "target_names", [])] if get_task(task).has_classes else []
    X = pd.DataFrame(bunch.data).drop(columns=list({*spec.drop, *(spec.ids or ())}))
    for name in spec.categorical:
        X[name] = category_names(X[name])
    shape = spec.signature.shape if spec.signature else ()
    shape = shape if len(shape) > 1 else ()
    return check_augmentation(spec, Table(X, pd.Series(bunch.target), task, dict(enumerate(names)), shape))


def read(spec: DataSpec, root: str | Path | None = None) -> pd.DataFrame:
    """Read the source of ``spec`` as a table, unchecked."""
    import numpy as np
    import pandas as pd

    if spec.source.startswith(STORED):
        path = stored_path(spec.source, root)
        if not path.is_file():
            raise DataError(f"data.source: {spec.source} is not in this folder of runs; pass the data again")
        return pd.read_parquet(path)
    if spec.source.startswith(HUB):
        return hub.read(spec)
    path = Path(spec.source).expanduser()
    if path.is_dir():
        if files := part_files(path):
            return _read_parts(files, spec)
        return images.folder_table(path, spec.size)
    if not spec.is_file:
        raise DataError(
            f"data.source: given {shorten(spec.source)}, {nearest(spec.source, BUNDLED)}; "
            f"or a file that ends in {FILE_NAMES}, a folder of images or of train.csv and test.csv, or {HUB}NAME"
        )
    if not path.is_file():
        raise DataError(f"data.source: no file {spec.source!r}; the current folder is {str(Path.cwd())!r}")
    try:
        check_memory(path, repr(spec.source), "X", spec.target or "y")
        if path.suffix.lower() != ".npz":
            return read_file(path, spec)
        with np.load(path, allow_pickle=False) as arrays:
            return _from_arrays(arrays, spec)
    except LmkitError:
        raise
    except pd.errors.EmptyDataError:
        raise DataError(f"data.source: {spec.source!r} has no rows") from None
    except Exception as error:
        raise DataError(f"data.source: {spec.source!r} cannot be read: {error}") from None


def _read_parts(files: dict[str, Path], spec: DataSpec) -> pd.DataFrame:
    try:
        return read_part_files(files, spec)
    except LmkitError:
        raise
    except Exception as error:
        raise DataError(f"data.source: a file of {spec.source!r} cannot be read: {error}") from None


def _from_arrays(arrays: Mapping[str, np.ndarray], spec: DataSpec) -> pd.DataFrame:
    target = spec.target or "y"
    if "X" not in arrays or target not in arrays:
        raise DataError(
            f"data.source: {spec.source!r} contains the arrays {join_names(arrays) or 'none'}; "
            f"expected X (rows, features) or (rows, height, width, channels) and {target} (rows,)"
        )
    X, y = arrays["X"], arrays[target]
    if X.ndim not in (2, 3, 4) or y.reshape(-1).shape[0] != X.shape[0]:
        raise DataError(
            f"data.source: {spec.source!r} contains X of shape {X.shape} and {target} of shape {y.shape}; "
            "expected (rows, features), (rows, length, channels) or (rows, height, width, channels), and (rows,)"
        )
    return with_target(flat_frame(X), target, y.reshape(-1))
