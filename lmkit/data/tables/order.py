"""Splits that are not drawn row by row: rows of one group together, or by time, the latest last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.tables.columns import infer_columns, plain_values
from lmkit.exceptions import DataError, shorten
from lmkit.preprocessing.formats import expand, to_seconds
from lmkit.specs.data import DataSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Order(NamedTuple):
    """What decides the part of each row.

    Attributes:
        kind: ``group`` or ``time``.
        column: the name of the column.
        values: (rows,) the number of each row's group, or its time.
        labels: what the first and last of these values are called: (group or time,) as text, of each row.
    """

    kind: str
    column: str
    values: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> Order:
        """Return that of some rows (numbers or a mask)."""
        return self._replace(values=self.values[rows], labels=self.labels[rows])


def read_order(spec: DataSpec, frame: pd.DataFrame, source: str, decimal: str) -> tuple[Order | None, list[str]]:
    """Return what decides the part of each row, or problems of its column; None where rows are drawn."""
    import pandas as pd

    name = spec.group or spec.time
    if name is None:
        return None, []
    column, kind = frame[name], "group" if spec.group else "time"
    if missing := int(column.isna().sum()):
        return None, [f"data.{kind}: {name!r} is missing in {missing:,} of {len(column):,} rows of {source}"]
    labels = column.astype(str).to_numpy(dtype=object)
    if kind == "group":
        return Order(kind, name, pd.factorize(column)[0], labels), []
    times = _times(spec, column, source, decimal)
    if times is None:
        example = shorten(column.iloc[0])
        return None, [f"data.time: {name!r} of {source} has values such as {example}, expected dates or numbers"]
    return Order(kind, name, times, labels), []


def _times(spec: DataSpec, column: pd.Series[Any], source: str, decimal: str) -> np.ndarray | None:
    """Return the times (rows,) of a column of dates or numbers, in any unit; None of any other."""
    import numpy as np
    import pandas as pd

    plain_spec = spec.model_copy(update={"categorical": (), "ids": ()})
    name = column.name
    layout = infer_columns(column.to_frame(), plain_spec, source, decimal).formats.get(name)
    times: np.ndarray
    if layout is not None and layout["type"] == "date":
        times = to_seconds(str(name), plain_values(column), layout["format"])
    elif layout is not None:
        times = np.asarray(expand(str(name), plain_values(column), layout)[str(name)])
    elif pd.api.types.is_numeric_dtype(column) or _is_numbers(column):
        times = column.to_numpy(dtype=np.float64)
    else:
        return None
    return times if np.isfinite(times).all() else None


def _is_numbers(column: pd.Series[Any]) -> bool:
    """Whether a column of texts holds numbers as Python writes them, so few that they were taken for categories."""
    try:
        column.astype(float)
    except (TypeError, ValueError):
        return False
    return True


def draw_order(order: Order, rest: np.ndarray, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Return the rows of each part among ``rest``.

    Args:
        order: what decides the part of each row of the table.
        rest: numbers of rows.
        sizes: rows of each part; those of whole groups are as near to that as the draw allows.
        seed: decides the order in which groups are drawn.

    Raises:
        DataError: there are fewer groups than parts.
    """
    values = order.values[rest]
    return _draw_groups(order, rest, values, sizes, seed) if order.kind == "group" else _by_time(rest, values, sizes)


def _by_time(rest: np.ndarray, times: np.ndarray, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Return the earliest rows as training part, the latest as test part; of equal times, in the order of the table."""
    import numpy as np

    ordered = rest[np.argsort(times, kind="stable")]
    validation = len(ordered) - sizes["test"] - sizes["validation"]
    test = len(ordered) - sizes["test"]
    return {
        "training": np.sort(ordered[:validation]),
        "validation": np.sort(ordered[validation:test]),
        "test": np.sort(ordered[test:]),
    }


def _draw_groups(
    order: Order, rest: np.ndarray, groups: np.ndarray, sizes: dict[str, int], seed: int
) -> dict[str, np.ndarray]:
    """Return the rows of groups that are drawn one by one, while that brings a part nearer to its size."""
    import numpy as np

    numbers, counts = np.unique(groups, return_counts=True)
    wanted = [name for name in ("test", "validation") if sizes[name]]
    if len(numbers) <= len(wanted):
        raise DataError(
            f"data.group: {order.column!r} has {len(numbers)} different values in the rows to be split, expected "
            f"{len(wanted) + 1} at least, one for each part; or use data: {{validation: 0}} or {{test: 0}}"
        )
    left = np.random.default_rng([seed, 5]).permutation(len(numbers)).tolist()
    parts: dict[str, list[int]] = {}
    for position, name in enumerate(wanted):
        rows, taken = 0, list[int]()
        spare = len(wanted) - position  # a group for each part that is still to come, and for training
        for group in list(left):
            if len(left) > spare and rows + counts[group] / 2 <= sizes[name]:
                taken.append(group)
                left.remove(group)
                rows += int(counts[group])
        if not taken:  # each is more than twice as large as the part
            taken.append(min(left, key=lambda group: int(counts[group])))
            left.remove(taken[0])
        parts[name] = taken
    result = {name: rest[np.isin(groups, numbers[taken])] for name, taken in parts.items()}
    return {"training": rest[np.isin(groups, numbers[left])], **result}


def describe_split(order: Order, parts: dict[str, np.ndarray]) -> str:
    """Return how the parts (rows,) were split, in a sentence."""
    import numpy as np

    if order.kind == "group":
        counts = [f"{len(np.unique(order.values[rows])):,} in {name}" for name, rows in parts.items() if len(rows)]
        return f"split by {order.column!r}, whose rows are in one part each: {', '.join(counts)}"
    ends = []
    for name, rows in parts.items():
        if len(rows):
            times = order.values[rows]
            first, last = (order.labels[rows[i]] for i in (int(np.argmin(times)), int(np.argmax(times))))
            ends.append(f"{name} {first} to {last}")
    return f"split by {order.column!r}: {', '.join(ends)}"
