"""Which rows are explained: numbers of rows of the test part, or rows as ``predict`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError
from lmkit.explanations.model import ExplainedModel, Rows, take_rows
from lmkit.preprocessing.predict import prepare_rows

if TYPE_CHECKING:
    import numpy as np

DEFAULT_ROWS = 100
"""Rows that are explained if none are given."""

MAX_ROWS = 10_000
"""Rows that are explained at most."""


def resolve_rows(explained: ExplainedModel, rows: Any) -> Rows:
    """Return the rows that an argument means.

    Args:
        explained: the model.
        rows: none: ``DEFAULT_ROWS`` of the test part, evenly spaced; a number, or a list, range or slice of numbers of
            rows of the test part, counted from 0; or rows as ``run.predict`` takes them, of a graph the names of nodes.

    Raises:
        DataError: there are no such rows, or the rows do not fit the model.
    """
    if rows is None:
        name, part = explained.evaluation
        selected = take_rows(part, DEFAULT_ROWS)
        names = _names(explained, selected.X, name, _evenly_spaced(len(part.X), len(selected.X)))
        return Rows(explained.cast(selected.X), names, selected.y)
    if explained.kind.name != "graph" and (numbers := _numbers(rows)) is not None:
        return _numbered(explained, numbers)
    X = explained.cast(prepare_rows(explained.preprocessing, rows))
    _check_count(len(X))
    return Rows(X, _names(explained, X, "row", range(len(X))))


def _evenly_spaced(total: int, count: int) -> Sequence[int]:
    import numpy as np

    return list(range(total)) if total == count else np.linspace(0, total - 1, count).astype(int).tolist()


def _numbers(rows: Any) -> Sequence[int] | slice | None:
    """Return numbers of rows; None if ``rows`` are rows themselves."""
    import numpy as np

    if isinstance(rows, bool | str):
        return None
    if isinstance(rows, int | np.integer):
        return [int(rows)]
    if isinstance(rows, slice | range):
        return rows
    is_flat = isinstance(rows, list | tuple | np.ndarray) and len(rows) and np.ndim(rows[0]) == 0
    if is_flat and all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in rows):
        return [int(n) for n in rows]
    return None


def _numbered(explained: ExplainedModel, numbers: Sequence[int] | slice) -> Rows:
    """Return rows of the part that explanations are computed on, by their numbers."""
    import numpy as np

    name, part = explained.evaluation
    total = len(part.X)
    if isinstance(numbers, slice):
        numbers = range(total)[numbers]
    _check_count(len(numbers))
    outside = next((n for n in numbers if not -total <= n < total), None)
    if outside is not None:
        raise DataError(f"rows: no row {outside} in the {name} part, which has {total:,} rows, 0 to {total - 1}")
    indices = np.asarray(numbers, dtype=np.int64) % total
    X = np.asarray(part.X[indices])
    return Rows(explained.cast(X), _names(explained, X, name, indices.tolist()), np.asarray(part.y[indices]))


def _check_count(count: int) -> None:
    if not count:
        raise DataError("rows: no rows to explain")
    if count > MAX_ROWS:
        raise DataError(f"rows: given {count:,} rows, expected at most {MAX_ROWS:,}")


def _names(explained: ExplainedModel, X: np.ndarray, part: str, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return the names of rows: of nodes their own, else the part and the number."""
    names = next(iter(explained.preprocessing.names(X).values()), None) if explained.kind.name == "graph" else None
    if names is not None:
        return tuple(f"node {name}" for name in names)
    return tuple(f"{part} {number}" for number in numbers)
