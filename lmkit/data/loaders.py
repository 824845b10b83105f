"""Data of somebody's own: a loader, a dataset, anything that can be iterated again and again, or a function of it.

``data=`` may be

* a PyTorch ``DataLoader``, or any iterable of batches (x, y) of which each ``iter`` begins anew: it stays a stream,
  whose batches come as it makes them;
* a PyTorch ``Dataset`` (with a length and rows (x, y)), which is read into arrays, split and shuffled as a table is;
* a mapping of parts, ``{"training": …, "validation": …, "test": …}``, each one of the above or arrays (X, y);
* a function of no arguments that returns one of these, or a ``tf.data.Dataset``.

Rows are taken as they come: nothing is scaled, and rows of int32 or int64 stay integers. The parts for validation and
test, and rows that lmkit splits itself, are read into arrays, of 2 GB at most.

A stream is iterated anew each epoch, with the generators of Python, NumPy and the framework seeded by the experiment's
seed and the number of the epoch; draws of the training itself do not disturb them. So a run that is taken up meets the
same batches, as long as the loader draws from these generators in this process. What draws elsewhere (workers of a
loader that seed themselves by the clock, a service) cannot be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data import objects
from lmkit.data.batches import Part
from lmkit.data.rows import array, rows
from lmkit.errors import ConfigError, DataError
from lmkit.specs.references import OBJECT

if TYPE_CHECKING:
    import numpy as np

PARTS = ("training", "validation", "test")

READ = 2 * 10**9
"""Bytes that are read into arrays at most, of one part."""


# -- handing over ---------------------------------------------------------------------------------


def is_loader(data: Any) -> bool:
    """Whether ``data`` gives its rows by itself, and is no array, table or pair of them."""
    if isinstance(data, Mapping):
        return "training" in data
    if isinstance(data, list):
        return bool(data) and all(isinstance(batch, tuple) for batch in data)
    if isinstance(data, str | bytes | tuple) or hasattr(data, "dtype") or hasattr(data, "columns"):
        return False
    return callable(data) or hasattr(data, "__iter__") or is_map_style(data)


def keep(data: Any, root: str | Path | None = None, *, inline: bool = False) -> dict[str, Any]:
    """Keeps what gives data beside the runs, and returns the fields of the experiment that name it.

    Raises:
        ConfigError: it cannot be sent to the worker; the message says why and what to do.
    """
    parts = data if isinstance(data, Mapping) else {"training": data}
    check_parts(parts)
    for name, part in parts.items():
        if _is_tensorflow(part) and not inline:
            raise ConfigError(
                [f"data: {name} is a tf.data.Dataset, which cannot be sent to the worker; hand over a function that "
                 "makes it: data=make, with def make(): return tf.data.Dataset…; or train here: inline=True"]
            )  # fmt: skip
        if not callable(part) and hasattr(part, "__next__"):
            raise ConfigError(
                [f"data: {name} is a {type(part).__name__}, which can be iterated once only; hand over a function that "
                 "makes it, without calling it"]
            )  # fmt: skip
    fields: dict[str, Any] = {"source": OBJECT + objects.refer(data, "data", root, inline=inline, most=objects.DATA)}
    known = isinstance(data, Mapping) or not (callable(data) or is_map_style(data))
    return fields | {name: 0 for name in PARTS[1:] if known and name not in parts}


def check_parts(parts: Mapping[Any, Any]) -> None:
    """Refuses parts that are called otherwise than training, validation and test."""
    unknown = [name for name in parts if name not in PARTS]
    if unknown or "training" not in parts:
        given = ", ".join(map(repr, parts))
        raise ConfigError([f"data: given the parts {given}, expected 'training' and if wished 'validation' and 'test'"])


def is_map_style(data: Any) -> bool:
    """Whether it has rows by number, as a PyTorch ``Dataset`` has."""
    numbered = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    batched = any(c.__name__ == "PyDataset" for c in type(data).__mro__)  # Keras's: a number stands for a batch
    return numbered and not batched and not isinstance(data, list | tuple | Mapping | type)


def _is_tensorflow(data: Any) -> bool:
    return any(c.__name__ == "DatasetV2" and c.__module__.startswith("tensorflow") for c in type(data).__mro__)


# -- reading --------------------------------------------------------------------------------------


def opened(part: Any) -> Any:
    """What a function returns that makes a part, or all of them; anything else as it is."""
    return part() if callable(part) and not is_map_style(part) else part


def in_rows(part: Any) -> bool:
    """Whether a part is arrays, or has rows by number."""
    pair = isinstance(part, tuple) and len(part) == 2 and hasattr(part[0], "shape")
    return pair or (is_map_style(part) and not hasattr(part, "batch_size"))


def read(part: Any, name: str) -> Part:
    """A part as two arrays."""
    import numpy as np

    if isinstance(part, tuple) and len(part) == 2 and hasattr(part[0], "shape"):
        return checked(part, name)
    if len(getattr(part, "tensors", ())) == 2:  # PyTorch's TensorDataset
        return checked(part.tensors, name)
    pieces: list[Part] = []
    held = 0
    rowwise = in_rows(part)
    source: Iterator[Any] = (part[i] for i in range(len(part))) if rowwise else iter(part)
    try:
        for item in source:
            piece = _one(item, name) if rowwise else checked(item, name)
            pieces.append(piece)
            held += piece.X.nbytes + piece.y.nbytes
            if held > READ:
                advice = "hand it over as a DataLoader" if name == "training" else "hand over fewer rows"
                raise DataError(f"data.source: {name} holds more than {READ // 10**9} GB, which is not read; {advice}")
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data.source: {name} raised {objects.told(error)}") from error
    if not pieces:
        raise DataError(f"data.source: {name} gave no rows")
    shapes = {p.X.shape[1:] for p in pieces}
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise DataError(f"data.source: rows of {name} are of several shapes, such as {a} and {b}")
    return Part(np.concatenate([p.X for p in pieces]), np.concatenate([p.y for p in pieces]))


def _pair(item: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    if not (isinstance(item, tuple | list) and len(item) == 2):
        what = f"a mapping of {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"a {type(item).__name__}"
        raise DataError(f"data.source: {name} gave {what}, expected pairs (x, y) of one array and its target")
    if any(isinstance(half, Mapping) for half in item):
        raise DataError(f"data.source: {name} gave several inputs by name, expected one array x and its target y")
    return array(item[0]), array(item[1])


def _one(item: Any, name: str) -> Part:
    """One row (x, y) as a batch of one."""
    x, y = _pair(item, name)
    return checked((x[None], y[None]), name)


def checked(item: Any, name: str) -> Part:
    """A batch (x, y) as arrays (rows, …) and (rows,)."""
    x, y = _pair(item, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise DataError(f"data.source: {name} gave x of {x.dtype} and y of {y.dtype}, expected numbers")
    if y.ndim != 1 or x.ndim < 1 or len(x) != len(y):
        raise DataError(
            f"data.source: {name} gave x of shape {x.shape} and y of shape {y.shape}, expected as many rows of each, "
            "and y (rows,)"
        )
    return Part(rows(x), y)
