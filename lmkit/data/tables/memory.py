"""Data in memory, stored in the runs folder once per content, so that runs can be resumed and repeated."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.files import unique_names
from lmkit.exceptions import DataError, shorten
from lmkit.runfolder.folder import runs_root
from lmkit.specs.data import STORED
from lmkit.system.files import replace_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FOLDER = ".data"

SHAPE = "lmkit.shape"
"""The attribute of a table with the shape of its rows, where they are images or sequences; Parquet files store it."""

COUNTS = "lmkit.parts"
"""The attribute of a table with the number of rows of training, validation and test, where its source has parts."""

TARGET = "lmkit.target"
"""The attribute of a table with the name of its target, where the source has one."""


def store_frame(frame: pd.DataFrame, target: str | None, root: str | Path | None = None) -> dict[str, Any]:
    """Store a table in the runs folder and return the fields of the experiment that name it.

    Args:
        frame: the table.
        target: the name of its target, where it is known.
        root: the folder of the runs.

    Returns:
        ``{"source": "stored:<hash>"}``, with ``target`` where it is known.

    Raises:
        DataError: the table cannot be stored.
    """
    import numpy as np

    duplicates = frame.columns[frame.columns.duplicated()]
    if len(duplicates):
        raise DataError(f"data: given two columns named {duplicates[0]!r}, expected unique names")
    if complex_columns := [name for name in frame.columns if frame[name].dtype.kind == "c"]:
        raise DataError(
            f"column {complex_columns[0]!r} of the data has complex numbers; use their real and imaginary parts"
        )
    content = hashlib.sha256(repr([(str(c), str(t)) for c, t in frame.dtypes.items()]).encode())
    for name in (SHAPE, COUNTS):
        if name in frame.attrs:
            content.update(repr(frame.attrs[name]).encode())
    for column in frame.columns:
        values = frame[column]
        is_numeric = isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf"
        content.update(values.to_numpy().tobytes() if is_numeric else "\0".join(map(repr, values)).encode())
    digest = content.hexdigest()[:24]
    path = stored_path(STORED + digest, root)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replace_file(path) as temporary_path:
                frame.to_parquet(temporary_path, index=False)
        except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow, for a column of mixed types
            raise DataError(f"data: cannot be stored as a table: {error}") from None
    return {"source": STORED + digest, **({"target": target} if target else {})}


def stored_path(source: str, root: str | Path | None = None) -> Path:
    """Return the file of a ``stored:<hash>`` source."""
    digest = source.removeprefix(STORED)
    if not digest.isalnum():
        raise DataError(f"data.source: given {shorten(source)}, expected {STORED}<hash>")
    return runs_root(root) / FOLDER / f"{digest}.parquet"


def flat_frame(X: np.ndarray) -> pd.DataFrame:
    """Return an array (rows, …) as a table with one column per number, and the shape of a row as attribute."""
    import pandas as pd

    flat = X.reshape(len(X), math.prod(X.shape[1:]))
    frame = pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])
    if X.ndim > 2:
        frame.attrs[SHAPE] = list(X.shape[1:])
    return frame


def with_target(frame: pd.DataFrame, name: str, y: Any) -> pd.DataFrame:
    """Return a table with a target column, and its name as attribute."""
    attributes = {**frame.attrs, TARGET: name}
    frame = frame.assign(**{name: y})
    frame.attrs = attributes
    return frame


def to_frame(data: Any) -> tuple[pd.DataFrame, str | None]:
    """Return arrays or a table as a table, and the name of its target, where it is known.

    Args:
        data: (X, y) of arrays, lists or pandas objects, where a row of X is features, an image or a sequence; a
            DataFrame, whose target the experiment names; or (DataFrame, "target column").

    Raises:
        DataError: ``data`` is none of these, or the lengths differ.
    """
    import numpy as np
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return unique_names(data), None
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise DataError(
            f"data: given {type(data).__name__}, expected (X, y) as arrays, a DataFrame with data: {{target: …}}, "
            "or (DataFrame, 'target')"
        )
    X, y = data
    if isinstance(X, pd.DataFrame) and isinstance(y, str):
        return unique_names(X, y), y
    if not isinstance(X, pd.DataFrame):
        X = np.asarray(X)
        if X.ndim == 1:
            X = X[:, None]
        if X.ndim not in (2, 3, 4):
            raise DataError(
                f"data: given X of shape {X.shape}, expected (rows, features), (rows, length, channels) or "
                "(rows, height, width, channels)"
            )
        if X.dtype.kind not in "biuf":
            raise DataError(f"data: given X of type {X.dtype}, expected numbers; a DataFrame may hold text")
        X = flat_frame(X)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"data: given y of shape {y.shape}, expected (rows,), a class or a number for each row of X")
    if len(X) != len(y):
        raise DataError(f"data: given {len(X)} rows of X and {len(y)} of y, expected as many of each")
    target = "y" if "y" not in X.columns else "__target__"
    X = unique_names(X).reset_index(drop=True)
    attributes = X.attrs
    frame = X.assign(**{target: y})
    frame.attrs = attributes
    return frame, target
