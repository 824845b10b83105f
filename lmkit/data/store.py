"""Data handed over in memory, kept beside the runs once per content, so that runs resume and repeat."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import DataError
from lmkit.runfolder import runs_root
from lmkit.specs.data import STORED

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FOLDER = ".data"

SHAPE = "lmkit.shape"
"""The attribute of a table that keeps the shape of rows that are images or sequences; a Parquet file keeps it too."""

TARGET = "lmkit.target"
"""The attribute of a table that names its target, where the source knows."""


def keep(data: Any, root: str | Path | None = None, *, inline: bool = False) -> dict[str, Any]:
    """Keeps ``data`` beside the runs under ``root`` and returns the fields of the experiment that name it.

    Args:
        data: (X, y) of arrays, a list or pandas objects, where a row of X is features, an image or a sequence; or a
            DataFrame, whose target the experiment names;
            or (DataFrame, "target column"); or what gives rows by itself, see ``lmkit.data.loaders``.
        root: where the runs are.
        inline: what gives rows by itself is held in this process, not sent.

    Returns:
        ``{"source": "stored:<hash>"}``, with ``target`` where it is known; or ``{"source": "object:<reference>"}``.

    Raises:
        DataError: it is none of these, or the lengths differ.
    """
    import numpy as np

    from lmkit.data import loaders

    if loaders.is_loader(data):
        return loaders.keep(data, root, inline=inline)
    frame, target = _frame(data)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"data: given two columns called {twice[0]!r}, expected a name of its own for each")
    content = hashlib.sha256(repr([(str(c), str(t)) for c, t in frame.dtypes.items()]).encode())
    if SHAPE in frame.attrs:
        content.update(repr(frame.attrs[SHAPE]).encode())
    for column in frame.columns:
        values = frame[column]
        numbers = isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf"
        content.update(values.to_numpy().tobytes() if numbers else "\0".join(map(repr, values)).encode())
    digest = content.hexdigest()[:24]
    place = stored_path(STORED + digest, root)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_suffix(f".{os.getpid()}.{secrets.token_hex(2)}")
        try:
            frame.to_parquet(aside, index=False)
            aside.replace(place)
        except (TypeError, ValueError) as error:  # what pyarrow raises for a column of several types
            aside.unlink(missing_ok=True)
            raise DataError(f"data: cannot be kept as a table: {error}") from None
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    return {"source": STORED + digest, **({"target": target} if target else {})}


def stored_path(source: str, root: str | Path | None = None) -> Path:
    """The file behind a ``stored:<hash>`` source."""
    digest = source.removeprefix(STORED)
    if not digest.isalnum():
        raise DataError(f"data.source: given {source!r}, expected {STORED}<hash>")
    return runs_root(root) / FOLDER / f"{digest}.parquet"


def flat_frame(X: np.ndarray) -> pd.DataFrame:
    """An array (rows, …) as a table, a column a number, which remembers the shape of a row."""
    import pandas as pd

    flat = X.reshape(len(X), math.prod(X.shape[1:]))
    frame = pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])
    if X.ndim > 2:
        frame.attrs[SHAPE] = list(X.shape[1:])
    return frame


def with_target(frame: pd.DataFrame, name: str, y: Any) -> pd.DataFrame:
    """A table with a target beside its features, which remembers which column it is."""
    attributes = {**frame.attrs, TARGET: name}
    frame = frame.assign(**{name: y})
    frame.attrs = attributes
    return frame


def _frame(data: Any) -> tuple[pd.DataFrame, str | None]:
    import numpy as np
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data.rename(columns=str), None
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise DataError(
            f"data: given {type(data).__name__}, expected (X, y) as arrays, a DataFrame with data: {{target: …}}, "
            "or (DataFrame, 'target')"
        )
    X, y = data
    if isinstance(X, pd.DataFrame) and isinstance(y, str):
        return X.rename(columns=str), y
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
    return X.rename(columns=str).reset_index(drop=True).assign(**{target: y}), target
