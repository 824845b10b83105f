"""Tables, images and sequences as a kind of data: read whole, or piece by piece where they are large."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.dataset import EAGER_BYTES, Dataset
from lmkit.data.tables import streaming
from lmkit.data.tables.fit import check_table_sizes, prepare_table, split
from lmkit.data.tables.size import exceeds
from lmkit.data.tables.sources import check_sizes, load
from lmkit.specs.data import DataSpec
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    from lmkit.specs.signature import Signature


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """Prepare the table of ``spec``, split by ``seed``; see ``lmkit.data.preparation.prepare``."""
    if spec.streams:
        return streaming.prepare(spec, seed, precision, root)
    return prepare_table(spec, load(spec, root), seed, precision)


def check(spec: DataSpec, root: str | Path | None = None) -> Signature | None:
    """Check a table of at most ``EAGER_BYTES``, or of a larger one its columns; return its signature, if it was read.

    Raises:
        DataError: it cannot be trained on.
    """
    if spec.bundled and not (spec.drop or spec.categorical or spec.ids):
        check_sizes(spec, spec.bundled.rows)
        return None
    if spec.streams:
        streaming.check(spec)
        return None
    path = Path(spec.source).expanduser()
    if spec.is_file and path.is_file() and exceeds(path, EAGER_BYTES):
        return None
    table = load(spec, root)
    check_table_sizes(spec, table)
    return table.signature


def read_signature(spec: DataSpec, root: str | Path | None = None) -> tuple[Signature, int | None]:
    """Return the inputs and outputs of a model, and the number of rows."""
    if spec.signature:
        return spec.signature, spec.bundled.rows if spec.bundled else None
    table = load(spec, root)
    return table.signature, len(table.y)


def example_rows(spec: DataSpec, seed: int, data: Dataset, count: int, root: str | Path) -> list[Any]:
    """Return rows as in the source: mappings, or arrays of images or sequences; none of a streamed file."""
    import numpy as np

    if spec.streams:
        return []
    table = load(spec, root)
    training, validation, test = split(spec, table, seed)
    rows = next(part for part in (test, validation, training) if len(part))[:count]
    frame = (table.X if table.raw is None else table.raw).iloc[rows].rename(columns=str)
    shape = data.preprocessing.shape
    if len(shape) > 1:
        return list(frame.to_numpy(dtype=np.float64).reshape(-1, *shape).tolist())
    plain = frame.astype(object).where(frame.notna(), None)
    return [{k: _json_value(v) for k, v in row.items()} for row in plain.to_dict("records")]


def _json_value(value: Any) -> Any:
    """Return a value as JSON can hold it; a date as text in ISO's format."""
    return value.isoformat() if hasattr(value, "isoformat") else plain_value(value)
