"""What was fitted on a table, and how it is applied: with NumPy alone, so that a deployed model needs nothing else."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from lmkit.specs.signature import Shape, Signature, Task


@dataclass(frozen=True)
class Preprocessing:
    """What was fitted on the training part, as plain data, and how it is applied.

    A number x becomes (x − shift) / scale after a missing one is replaced by ``fill``; a category becomes one
    column a known category, all zero for one that was not seen in training.

    Attributes:
        task: what is predicted.
        numbers: column → fill, shift, scale.
        categories: column → fill and the known categories.
        columns: the columns in the order in which they came.
        classes: the target's values, class 0 first; empty for regression.
        labels: what the classes are called.
        target: shift and scale of the target, for regression.
        shape: of a row as the model sees it: (features,), (height, width, channels) or (length, channels). Arrays stay
            flat (rows, features); a model that needs the axes reshapes them, the last axis running fastest.

    >>> fitted = {"age": {"fill": 40.0, "shift": 40.0, "scale": 10.0}}
    >>> known = Preprocessing("regression", fitted, {"town": {"fill": "Bern", "known": ["Bern", "Uri"]}},
    ...                       ["town", "age"], [], [], {"shift": 0.0, "scale": 1.0})
    >>> known.apply([{"age": 50, "town": "Uri"}, {"age": None, "town": None}]).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """

    task: Task
    numbers: dict[str, dict[str, Any]]
    categories: dict[str, dict[str, Any]]
    columns: list[str]
    classes: list[Any]
    labels: list[str]
    target: dict[str, float]
    shape: Shape = ()

    def __post_init__(self) -> None:
        # JSON has lists only, and folders of before there were images have no shape
        object.__setattr__(self, "shape", tuple(self.shape) or (len(self.features),))

    @property
    def features(self) -> list[str]:
        """The names of the prepared features."""
        return [*self.numbers, *(f"{n}={v}" for n, c in self.categories.items() for v in c["known"])]

    @property
    def outputs(self) -> int:
        """Outputs that a model needs: one a class, one in all for two classes or a number."""
        return len(self.classes) if self.task == "multiclass" else 1

    @property
    def signature(self) -> Signature:
        """What a model takes and gives."""
        from lmkit.specs.signature import Signature

        return Signature(self.shape, self.outputs, self.task)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder."""
        return asdict(self)

    def shipped(self) -> dict[str, Any]:
        """The same as far as a bundle needs it."""
        return self.to_dict()

    @cached_property
    def _scaling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fill (NaN where there is none), shift and scale (numbers,) of the columns of numbers."""
        import numpy as np

        fits = self.numbers.values()
        fill, shift, scale = (np.array([f[k] for f in fits], dtype=np.float64) for k in ("fill", "shift", "scale"))
        return fill, shift, scale

    def apply(self, X: Any) -> np.ndarray:
        """Rows as they came → (rows, features) as the model takes them, float64.

        Args:
            X: a DataFrame or a list of mappings, with (at least) the columns trained on, or an array with exactly
                those, in order; for images and sequences also an array of them.

        Raises:
            DataError: columns are missing, or hold text where there were numbers.
        """
        import numpy as np

        pandas = sys.modules.get("pandas")  # who has a DataFrame has imported it
        if isinstance(X, dict):
            X = [X]
        if pandas is not None and isinstance(X, pandas.DataFrame):
            columns = self._of_frame(X)
        elif isinstance(X, list | tuple) and X and all(isinstance(row, dict) for row in X):
            columns = self._of_mappings(X)
        else:
            rows = self._array(X)
            if rows.dtype.kind in "biuf" and not self.categories:
                return self._scaled(rows.astype(np.float64))
            columns = dict(zip(self.columns, rows.T, strict=True))
        prepared = [self._scaled(np.stack([_floats(columns[n], n) for n in self.numbers], 1))] if self.numbers else []
        for name, fit in self.categories.items():
            texts = [fit["fill"] if _missing(v) else str(plain_value(v)) for v in columns[name]]
            known = np.array(fit["known"], dtype=object)
            prepared.append((np.array(texts, dtype=object)[:, None] == known[None, :]).astype(np.float64))
        return np.hstack(prepared)

    def _array(self, X: Any) -> np.ndarray:
        """Rows (rows, columns) in an array."""
        import numpy as np

        try:
            rows = np.asarray(X)
        except ValueError:
            raise DataError(
                f"given rows that are not equally long, expected (rows, {len(self.columns)}): {_few(self.columns)}"
            ) from None
        if rows.dtype.kind in "US" and not isinstance(X, np.ndarray):
            rows = np.asarray(X, dtype=object)  # numbers beside texts stay what they are
        rows, shape = np.atleast_2d(rows), self.shape
        if len(shape) > 1 and rows.shape[1:] in (shape, (*shape, 1), shape[:-1] if shape[-1] == 1 else shape):
            rows = rows.reshape(len(rows), -1)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise DataError(
                f"given rows of shape {rows.shape}, expected (rows, {len(self.columns)}): {_few(self.columns)}"
                + (f"; or (rows, {', '.join(map(str, shape))})" if len(shape) > 1 else "")
            )
        return rows

    def _of_frame(self, X: Any) -> Mapping[str, Any]:
        X = X.rename(columns=str)
        absent = [c for c in self.columns if c not in X.columns]
        if absent:
            raise DataError(f"the rows have no column {_few(absent)}; expected {_few(self.columns)}")
        return {name: _values(X[name]) for name in self.columns}

    def _of_mappings(self, X: Any) -> Mapping[str, Any]:
        import numpy as np

        for number, row in enumerate(X):
            absent = [c for c in self.columns if c not in row]
            if absent:
                raise DataError(f"row {number} has no column {_few(absent)}; expected {_few(self.columns)}")
        return {name: np.array([row[name] for row in X], dtype=object) for name in self.columns}

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Numbers (rows, numbers), filled and scaled."""
        import numpy as np

        fill, shift, scale = self._scaling
        gaps = np.isnan(values)
        if gaps.any():
            for name, count, instead in zip(self.numbers, gaps.sum(axis=0), fill, strict=True):
                if count and np.isnan(instead):
                    raise DataError(f"column {name!r} misses {count} values, and training had no rule for them")
            values = np.where(gaps, fill, values)
        return np.asarray((values - shift) / scale)

    def names(self, X: np.ndarray) -> dict[str, Any]:
        """A column with what some prepared rows are called; none where, as in a table, they have no names."""
        return {}

    def encode(self, y: Any) -> np.ndarray:
        """The target as the loss takes it: (rows, 1), or numbers of classes (rows,)."""
        import numpy as np

        if self.task == "regression":
            return ((np.asarray(y, dtype=np.float64) - self.target["shift"]) / self.target["scale"])[:, None]
        import pandas as pd

        numbers = {value: i for i, value in enumerate(self.classes)}
        codes, values = pd.factorize(np.asarray(y))  # there are many rows, and few values
        classes = np.array([numbers[plain_value(v)] for v in values], dtype=np.int64)[codes]
        return classes if self.task == "multiclass" else classes.astype(np.float64)[:, None]

    def restore(self, y: np.ndarray) -> np.ndarray:
        """The prepared target (rows, 1) or (rows,) → (rows,) as it came: the inverse of ``encode``."""
        import numpy as np

        if self.task == "regression":
            return y[:, 0].astype(np.float64) * self.target["scale"] + self.target["shift"]
        return np.asarray(np.array(self.classes)[y.reshape(-1).astype(int)])

    def decode(self, logits: np.ndarray) -> np.ndarray:
        """Logits (rows, outputs) → predictions (rows,): the target's own classes, or values in its own unit."""
        import numpy as np

        if self.task == "regression":
            return logits[:, 0].astype(np.float64) * self.target["scale"] + self.target["shift"]
        chosen = logits.argmax(axis=1) if self.task == "multiclass" else (logits[:, 0] > 0).astype(int)
        return np.asarray(np.array(self.classes)[chosen])

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits (rows, outputs) → (rows, classes), each row summing to 1."""
        import numpy as np

        if self.task == "regression":
            raise DataError("a regression has no classes to give probabilities of; use predict")
        z = logits.astype(np.float64)
        if self.task == "binary":
            z = np.hstack([np.zeros_like(z), z])  # a sigmoid is a softmax beside 0
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def plain_value(value: Any) -> Any:
    """A class or a category as JSON can hold it."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _values(column: Any) -> np.ndarray:
    """The values (rows,) of a pandas Series, missing ones as None or NaN."""
    import numpy as np

    plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"
    found: np.ndarray = column.to_numpy() if plain else column.astype(object).to_numpy(dtype=object, na_value=None)
    return found


def _floats(values: np.ndarray, name: str) -> np.ndarray:
    """Values (rows,) as numbers, missing ones as NaN."""
    import numpy as np

    try:
        if values.dtype.kind == "O":
            return np.array([np.nan if _missing(v) else v for v in values], dtype=np.float64)
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"column {name!r} holds text, expected numbers as in training") from None


def _missing(value: Any) -> bool:
    """Whether it is None, NaN, or pandas' own NA, which is neither equal to itself nor not."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f", … ({len(names)} in all)" if len(names) > 6 else "")
