"""Custom data: a loader, a dataset, any iterable that can be iterated repeatedly, or a function that returns one.

``data=`` may be

* a PyTorch ``DataLoader``, or any iterable of batches (x, y) whose ``iter`` starts over: it stays a stream of the
  batches that it yields;
* a PyTorch ``Dataset`` (with a length and rows (x, y)), which is read into arrays, split and shuffled like a table;
* a mapping of parts, ``{"training": …, "validation": …, "test": …}``, at least one of them one of the above (parts that
  are all arrays, DataFrames or paths of files are a table: scaled and encoded as one is);
* a function of no arguments that returns one of these, or a ``tf.data.Dataset``.

Rows are unchanged: nothing is scaled, and rows of int32 or int64 stay integers. The parts for validation and test, and
rows that lmkit splits itself, are read into arrays, of 2 GB at most.

A stream is iterated again in each epoch, with the generators of Python, NumPy and the framework seeded by the seed of
the experiment and the number of the epoch; draws of the training itself do not affect them. So a resumed run sees the
same batches, provided that the loader draws from these generators in this process. Draws elsewhere (workers of a
loader that are seeded by the clock, a service) are not repeatable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.custom import objects
from lmkit.data.batches import Part
from lmkit.exceptions import ConfigError, DataError, join_names
from lmkit.preprocessing.loader import to_array, to_rows
from lmkit.specs.frameworks import unpicklable_loader
from lmkit.specs.references import OBJECT

if TYPE_CHECKING:
    import numpy as np

PARTS = ("training", "validation", "test")

MAX_BYTES = 2 * 10**9
"""Bytes of one part that are read into arrays at most."""


# -- references -----------------------------------------------------------------------------------


def is_loader(data: Any) -> bool:
    """Whether ``data`` is a loader, a dataset, a function or a mapping of parts, rather than arrays or a table."""
    if isinstance(data, Mapping):
        return "training" in data
    if isinstance(data, list):
        return bool(data) and all(isinstance(batch, tuple) for batch in data)
    if isinstance(data, str | bytes | tuple) or hasattr(data, "dtype") or hasattr(data, "columns"):
        return False
    return callable(data) or hasattr(data, "__iter__") or is_map_style(data)


def store_loader(data: Any, root: str | Path | None = None, *, inline: bool = False) -> dict[str, Any]:
    """Store a loader in the runs folder, and return the fields of the experiment that name it.

    Raises:
        ConfigError: the loader cannot be sent to the worker; the message says why and what to do.
    """
    parts = data if isinstance(data, Mapping) else {"training": data}
    check_parts(parts)
    for name, part in parts.items():
        if (loader_type := unpicklable_loader(part)) and not inline:
            raise ConfigError(
                [
                    f"data: {name} is a {loader_type}, which cannot be sent to the worker; pass a function that "
                    f"returns it: data=make, with def make(): return {loader_type}…; or train here: inline=True"
                ]
            )
        if not callable(part) and hasattr(part, "__next__"):
            raise ConfigError(
                [
                    f"data: {name} is a {type(part).__name__}, which can be iterated only once; pass a function that "
                    "returns it, without calling it"
                ]
            )
    reference = objects.to_reference(data, "data", root, inline=inline, max_bytes=objects.MAX_DATA_BYTES)
    fields: dict[str, Any] = {"source": OBJECT + reference}
    has_fixed_parts = isinstance(data, Mapping) or not (callable(data) or is_map_style(data))
    return fields | {name: 0 for name in PARTS[1:] if has_fixed_parts and name not in parts}


def check_parts(parts: Mapping[Any, Any]) -> None:
    """Check that the parts are named training, validation and test."""
    unknown = [name for name in parts if name not in PARTS]
    if unknown or "training" not in parts:
        names = ", ".join(map(repr, parts))
        raise ConfigError(
            [f"data: given the parts {names}, expected 'training', and optionally 'validation' and 'test'"]
        )


def is_map_style(data: Any) -> bool:
    """Whether rows are accessed by index, as in a PyTorch ``Dataset``."""
    is_indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    is_batched = any(c.__name__ == "PyDataset" for c in type(data).__mro__)  # Keras: an index stands for a batch
    return is_indexed and not is_batched and not isinstance(data, list | tuple | Mapping | type)


# -- reading --------------------------------------------------------------------------------------


def call_factory(part: Any) -> Any:
    """Return the part, or parts, that a function returns; anything else unchanged."""
    return part() if callable(part) and not is_map_style(part) else part


def has_rows(part: Any) -> bool:
    """Whether a part is arrays, or has rows by index."""
    is_pair = isinstance(part, tuple) and len(part) == 2 and hasattr(part[0], "shape")
    return is_pair or (is_map_style(part) and not hasattr(part, "batch_size"))


def read(part: Any, name: str) -> Part:
    """Read a part into two arrays."""
    import numpy as np

    if isinstance(part, tuple) and len(part) == 2 and hasattr(part[0], "shape"):
        return check_batch(part, name)
    if len(getattr(part, "tensors", ())) == 2:  # PyTorch's TensorDataset
        return check_batch(part.tensors, name)
    pieces: list[Part] = []
    size = 0
    rowwise = has_rows(part)
    source: Iterator[Any] = (part[i] for i in range(len(part))) if rowwise else iter(part)
    try:
        for item in source:
            piece = _row_batch(item, name) if rowwise else check_batch(item, name)
            pieces.append(piece)
            size += piece.X.nbytes + piece.y.nbytes
            if size > MAX_BYTES:
                advice = "pass a DataLoader" if name == "training" else "pass fewer rows"
                raise DataError(
                    f"data.source: {name} has more than {MAX_BYTES // 10**9} GB, expected less for arrays; {advice}"
                )
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data.source: {name} raised {objects.describe_error(error)}") from error
    if not pieces:
        raise DataError(f"data.source: {name} has no rows")
    shapes = {p.X.shape[1:] for p in pieces}
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise DataError(f"data.source: rows of {name} have different shapes, such as {a} and {b}")
    return Part(np.concatenate([p.X for p in pieces]), np.concatenate([p.y for p in pieces]))


def _pair(item: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    if not (isinstance(item, tuple | list) and len(item) == 2):
        what = f"a mapping of {join_names(item)}" if isinstance(item, Mapping) else f"a {type(item).__name__}"
        raise DataError(f"data.source: {name} yields {what}, expected pairs (x, y) of an array and its target")
    if any(isinstance(half, Mapping) for half in item):
        raise DataError(f"data.source: {name} yields named inputs, expected one array x and its target y")
    return to_array(item[0]), to_array(item[1])


def _row_batch(item: Any, name: str) -> Part:
    """Return a row (x, y) as a batch of one row."""
    x, y = _pair(item, name)
    return check_batch((x[None], y[None]), name)


def check_batch(item: Any, name: str) -> Part:
    """Return a batch (x, y) as arrays (rows, …) and (rows,); check their types and shapes."""
    x, y = _pair(item, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise DataError(f"data.source: {name} yields x of {x.dtype} and y of {y.dtype}, expected numbers")
    if y.ndim != 1 or x.ndim < 1 or len(x) != len(y):
        raise DataError(
            f"data.source: {name} yields x of shape {x.shape} and y of shape {y.shape}, expected as many rows of "
            "each, and y (rows,)"
        )
    return Part(to_rows(x), y)
