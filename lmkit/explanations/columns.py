"""The columns of the data among the prepared features of a model: one-hot encoding and scaling are undone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.display.units import format_number
from lmkit.exceptions import DataError, nearest

if TYPE_CHECKING:
    import numpy as np

    from lmkit.preprocessing.table import TablePreprocessing


class Column(NamedTuple):
    """A column of the data, and the prepared features that it has become.

    Attributes:
        name: the column.
        features: the indices of its features.
        names: the names of its features; several for a date.
        categories: its categories, one for each feature; empty for numbers.
        shift, scale: x = shift + scale · feature, for each feature that is a number.
    """

    name: str
    features: tuple[int, ...]
    names: tuple[str, ...]
    categories: tuple[str, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def original(self, X: np.ndarray) -> list[Any]:
        """Return the values (rows,) of the column in prepared rows (rows, features); of a date, texts of its parts."""
        import numpy as np

        values = np.asarray(X[:, self.features], dtype=np.float64)
        if self.categories:
            return [self.categories[int(row.argmax())] if row.any() else "(other)" for row in values]
        numbers = np.stack([*map(restore_numbers, values.T, self.shift, self.scale)], axis=1)
        if len(self.features) == 1:
            return [float(v) for v in numbers[:, 0]]
        parts = [name.removeprefix(f"{self.name}.") for name in self.names]
        return [", ".join(f"{part} {format_number(v)}" for part, v in zip(parts, row, strict=True)) for row in numbers]


def restore_numbers(values: np.ndarray, shift: float, scale: float) -> np.ndarray:
    """Return prepared numbers (n,) in the unit of the data, shift + scale · value, to a millionth of the scale.

    Further digits are the rounding of single precision, of which 0 would become 1e-08.

    >>> import numpy as np
    >>> restore_numbers((np.array([0, 1, 0.3]) - 0.4).astype(np.float32) / np.float32(0.7), 0.4, 0.7).tolist()
    [0.0, 1.0, 0.3]
    """
    import numpy as np

    decimals = 6 - math.floor(math.log10(abs(scale) or 1.0))
    return np.asarray(np.round(np.asarray(values, dtype=np.float64) * scale + shift, decimals)) + 0.0


def list_columns(preprocessing: TablePreprocessing) -> list[Column]:
    """Return the columns of the data in its order.

    >>> from lmkit.preprocessing.table import TablePreprocessing
    >>> fitted = {"age": {"fill": None, "shift": 40.0, "scale": 10.0}}
    >>> towns = {"town": {"fill": "Uri", "known": ["Bern", "Uri"]}}
    >>> preprocessing = TablePreprocessing("regression", fitted, towns, ["town", "age"], [], [], {})
    >>> [(column.name, column.features) for column in list_columns(preprocessing)]
    [('town', (1, 2)), ('age', (0,))]
    """
    columns: dict[str, Column] = {}
    for index, (feature, fit) in enumerate(preprocessing.numbers.items()):
        name = feature if feature in preprocessing.columns else _column_of(feature, preprocessing.formats)
        before = columns.get(name, Column(name, (), ()))
        columns[name] = before._replace(
            features=(*before.features, index),
            names=(*before.names, feature),
            shift=(*before.shift, float(fit["shift"])),
            scale=(*before.scale, float(fit["scale"])),
        )
    start = len(preprocessing.numbers)
    for name, fit in preprocessing.categories.items():
        categories = tuple(str(v) for v in fit["known"])
        features = tuple(range(start, start + len(categories)))
        columns[name] = Column(name, features, tuple(f"{name}={v}" for v in categories), categories)
        start += len(categories)
    if not columns:  # rows of a loader have no names
        names = [f"feature {i}" for i in range(math.prod(preprocessing.shape))]
        return [Column(name, (i,), (name,), (), (0.0,), (1.0,)) for i, name in enumerate(names)]
    order = {name: i for i, name in enumerate(preprocessing.columns)}
    return sorted(columns.values(), key=lambda column: order.get(column.name, len(order)))


def _column_of(feature: str, formats: Iterable[str]) -> str:
    """Return the column with a format that a feature is a part of."""
    owners = [name for name in formats if feature.startswith(f"{name}.")]
    return max(owners, key=len, default=feature)


def select_columns(columns: list[Column], names: Iterable[str]) -> list[Column]:
    """Return the columns called ``names``.

    Raises:
        DataError: a column does not exist.
    """
    by_name = {column.name: column for column in columns}
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in by_name:
            raise DataError(f"columns: no column {str(name)[:80]!r}; {nearest(str(name), by_name, 'columns:')}")
    return [by_name[name] for name in names]


def sum_features(values: np.ndarray, columns: list[Column]) -> np.ndarray:
    """Return the values (rows, features) of features summed over each column, (rows, columns)."""
    import numpy as np

    return np.stack([values[:, column.features].sum(axis=1) for column in columns], axis=1)
