"""Preprocessing of a table: fitted values and their application. It needs NumPy alone, for deployed models."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError, join_names
from lmkit.preprocessing.formats import expand, is_missing, replace_signs, write_texts
from lmkit.specs.outputs import OutputKind, to_logits
from lmkit.specs.tasks import get_task
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from lmkit.specs.signature import Shape, Signature
    from lmkit.specs.tasks import TaskName


@dataclass(frozen=True)
class TablePreprocessing:
    """Fill values, scaling and one-hot encoding, fitted on the training part, as plain data.

    A number x becomes (x − shift) / scale after a missing one is replaced by ``fill``; a category is one-hot encoded,
    all zeros for a category that the training part does not contain. A column with a format, as of dates, becomes the
    numbers of its parts before that.

    Attributes:
        task: the task of the model.
        numbers: column → fill, shift, scale.
        categories: column → fill, and under ``known`` the categories of the training part.
        columns: the columns in the order of the source.
        classes: the target's values, class 0 first; empty for regression.
        labels: the names of the classes.
        target: shift and scale of the target, for regression.
        shape: of a row as the model takes it: (features,), (height, width, channels) or (length, channels). Arrays stay
            flat (rows, features); a model that needs the axes reshapes them, the last axis running fastest.
        formats: column → how its values are parsed, see ``lmkit.preprocessing.formats``.
        output_kind: what the outputs of the run's model are; those of a regression are values.
        missing_values: column → the values that stand for a missing one.
        as_text: the columns of names, in a bundle whose file prepares rows of texts: rows are passed on as texts.

    >>> fitted = {"age": {"fill": 40.0, "shift": 40.0, "scale": 10.0}}
    >>> preprocessing = TablePreprocessing("regression", fitted, {"town": {"fill": "Bern", "known": ["Bern", "Uri"]}},
    ...                                    ["town", "age"], [], [], {"shift": 0.0, "scale": 1.0})
    >>> preprocessing.apply([{"age": 50, "town": "Uri"}, {"age": None, "town": None}]).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """

    task: TaskName
    numbers: dict[str, dict[str, Any]]
    categories: dict[str, dict[str, Any]]
    columns: list[str]
    classes: list[Any]
    labels: list[str]
    target: dict[str, float]
    shape: Shape = ()
    formats: dict[str, dict[str, Any]] = field(default_factory=dict, kw_only=True)
    output_kind: OutputKind = field(default="logits", kw_only=True)
    missing_values: dict[str, list[Any]] = field(default_factory=dict, kw_only=True)
    as_text: list[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # JSON has lists only; run folders written before images were supported have no shape
        object.__setattr__(self, "shape", tuple(self.shape) or (len(self.features),))

    @property
    def features(self) -> list[str]:
        """The names of the prepared features."""
        return [*self.numbers, *(f"{n}={v}" for n, c in self.categories.items() for v in c["known"])]

    @property
    def outputs(self) -> int:
        """The output size of a model: one per class, 1 for binary and regression."""
        return get_task(self.task).outputs(len(self.classes))

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of a model."""
        from lmkit.specs.signature import Signature

        return Signature(self.shape, self.outputs, self.task)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``preprocessing.json`` of a run."""
        return without_default_kind(asdict(self))

    def bundle_dict(self) -> dict[str, Any]:
        """Return the plain values that a bundle needs."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TablePreprocessing:
        """Return the preprocessing that ``to_dict`` or ``bundle_dict`` wrote."""
        return cls(**{name: value for name, value in values.items() if name != "kind"})

    @cached_property
    def _scaling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fill (NaN: no fill value), shift and scale (numbers,) of the numeric columns."""
        import numpy as np

        fits = self.numbers.values()
        fill, shift, scale = (np.array([f[k] for f in fits], dtype=np.float64) for k in ("fill", "shift", "scale"))
        return fill, shift, scale

    def apply(self, X: Any) -> np.ndarray:
        """Return rows as the model takes them, (rows, features), float64.

        Args:
            X: a DataFrame or a list of mappings with at least the training columns, or an array with exactly these
                columns in order; for images and sequences also an array of them.

        Raises:
            DataError: columns are missing, or hold text instead of numbers.
        """
        return self.encode_rows(X)[0]

    def encode_rows(self, X: Any) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """Return rows as ``apply`` does, and column → the values in them that are none of its categories."""
        import numpy as np

        pandas = sys.modules.get("pandas")  # a DataFrame implies that pandas is imported
        if isinstance(X, dict):
            X = [X]
        if pandas is not None and isinstance(X, pandas.DataFrame):
            columns = self._frame_columns(X)
        elif isinstance(X, list | tuple) and X and all(isinstance(row, dict) for row in X):
            columns = self._mapping_columns(X)
        else:
            rows = self._array(X)
            if rows.dtype.kind in "biuf" and not (
                self.categories or self.formats or self.missing_values or self.as_text is not None
            ):
                return self._scaled(rows.astype(np.float64)), {}
            columns = dict(zip(self.columns, rows.T, strict=True))
        if self.as_text is not None:
            return np.stack(
                [write_texts(n, columns[n], self.formats.get(n), n in self.as_text) for n in columns], 1
            ), {}
        for name, signs in self.missing_values.items():
            columns = {**columns, name: replace_signs(columns[name], signs)}
        for name, column_format in self.formats.items():
            columns = {**columns, **expand(name, columns[name], column_format)}
        return self._encode_features(columns)

    @property
    def _is_plain(self) -> bool:
        """Whether rows are numbers that are only filled and scaled."""
        return not (self.categories or self.formats or self.missing_values) and self.as_text is None

    def apply_parsed(self, X: Any) -> np.ndarray:
        """Return rows as ``apply`` does, of a DataFrame whose columns with a format are parsed already."""
        import numpy as np

        if not self.categories and X.shape[1] == len(self.numbers) and all(dtype == np.float64 for dtype in X.dtypes):
            places = {str(name): i for i, name in enumerate(X.columns)}
            return self._scaled(X.to_numpy()[:, [places[name] for name in self.numbers]].copy(order="C"))
        return self._encode_features({str(name): _values(X[name]) for name in X.columns})[0]

    def _encode_features(self, columns: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """Return the prepared rows (rows, features) of parsed columns, and the values that are no category."""
        import numpy as np

        unseen: dict[str, list[Any]] = {}
        prepared = [self._scaled(np.stack([_floats(columns[n], n) for n in self.numbers], 1))] if self.numbers else []
        for name, fit in self.categories.items():
            texts = [fit["fill"] if is_missing(v) else str(plain_value(v)) for v in columns[name]]
            categories = np.array(fit["known"], dtype=object)
            one_hot = (np.array(texts, dtype=object)[:, None] == categories[None, :]).astype(np.float64)
            if not (seen := one_hot.any(axis=1)).all():
                unseen[name] = [columns[name][i] for i in np.flatnonzero(~seen)]
            prepared.append(one_hot)
        return np.hstack(prepared), unseen

    def _array(self, X: Any) -> np.ndarray:
        """Return rows as an array (rows, columns)."""
        import numpy as np

        try:
            rows = np.asarray(X)
        except ValueError:
            raise DataError(
                f"given rows of different lengths, expected (rows, {len(self.columns)}): {join_names(self.columns)}"
            ) from None
        if rows.dtype.kind in "US" and not isinstance(X, np.ndarray):
            rows = np.asarray(X, dtype=object)  # keeps numbers in rows that also contain text
        rows, shape = np.atleast_2d(rows), self.shape
        if len(shape) > 1 and rows.shape[1:] in (shape, (*shape, 1), shape[:-1] if shape[-1] == 1 else shape):
            rows = rows.reshape(len(rows), -1)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise DataError(
                f"given rows of shape {rows.shape}, expected (rows, {len(self.columns)}): {join_names(self.columns)}"
                + (f"; or (rows, {', '.join(map(str, shape))})" if len(shape) > 1 else "")
            )
        return rows

    def _frame_columns(self, X: Any) -> Mapping[str, Any]:
        X = X.rename(columns=str)
        absent = [c for c in self.columns if c not in X.columns]
        if absent:
            raise DataError(f"the rows have no column {join_names(absent)}; expected {join_names(self.columns)}")
        return {name: _values(X[name]) for name in self.columns}

    def _mapping_columns(self, X: Any) -> Mapping[str, Any]:
        import numpy as np

        for number, row in enumerate(X):
            absent = [c for c in self.columns if c not in row]
            if absent:
                raise DataError(f"row {number} has no column {join_names(absent)}; expected {join_names(self.columns)}")
        return {name: np.array([row[name] for row in X], dtype=object) for name in self.columns}

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Fill and scale numbers (rows, numbers)."""
        import numpy as np

        fill, shift, scale = self._scaling
        gaps = np.isnan(values)
        if gaps.any():
            for name, count, value in zip(self.numbers, gaps.sum(axis=0), fill, strict=True):
                if count and np.isnan(value):
                    raise DataError(f"column {name!r} has {count} missing values, and the training data had none")
            values = np.where(gaps, fill, values)
        return np.asarray((values - shift) / scale)

    def names(self, X: np.ndarray) -> dict[str, Any]:
        """Return a column with the names of prepared rows; empty, as rows of a table have no names."""
        del X
        return {}

    def encode(self, y: Any) -> np.ndarray:
        """Return the target as the loss takes it: (rows, outputs), or class indices (rows,)."""
        return get_task(self.task).encode(y, self)

    def restore(self, y: np.ndarray) -> np.ndarray:
        """Return the prepared target as values (rows,) of the data: the inverse of ``encode``."""
        return get_task(self.task).restore(y, self)

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits of a model's outputs (rows, outputs), whatever these are; values of a regression as is."""
        return to_logits(outputs, self.output_kind)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions (rows,) of outputs (rows, outputs): classes, or values in the unit of the target."""
        return get_task(self.task).decode(self.logits(outputs), self)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probabilities (rows, classes) of a model's outputs (rows, outputs)."""
        return get_task(self.task).probabilities(self.logits(outputs))


def without_default_kind(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a preprocessing, those that have a default only where they are not the usual ones."""
    return {name: value for name, value in values.items() if (name, value) not in _USUAL}


_USUAL: tuple[tuple[str, Any], ...] = (
    ("output_kind", "logits"),
    ("formats", {}),
    ("missing_values", {}),
    ("as_text", None),
    ("raw_texts", False),
)


def _values(column: Any) -> np.ndarray:
    """Return the values (rows,) of a pandas Series, missing values as None or NaN."""
    import numpy as np

    plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"
    values: np.ndarray = column.to_numpy() if plain else column.astype(object).to_numpy(dtype=object, na_value=None)
    return values


def _floats(values: np.ndarray, name: str) -> np.ndarray:
    """Return values (rows,) as numbers, missing values as NaN."""
    import numpy as np

    try:
        if values.dtype.kind == "O":
            return np.array([np.nan if is_missing(v) else v for v in values], dtype=np.float64)
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"column {name!r} contains text, expected numbers as in training") from None
