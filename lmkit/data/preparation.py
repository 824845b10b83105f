"""Tables made into arrays: split, filled, scaled, one-hot; fitted on the training part alone."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.augmentation import Augment
from lmkit.data.batches import Batches, Gathered, Part
from lmkit.data.sources import Table, category_names, check_sizes, load, part_sizes, plain_value
from lmkit.errors import DataError
from lmkit.specs.augmentation import Augmentation
from lmkit.specs.data import DataSpec
from lmkit.specs.signature import Shape, Signature, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


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
        return Signature(self.shape, self.outputs, self.task)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder."""
        return asdict(self)

    def apply(self, X: Any) -> np.ndarray:
        """Rows as they came → (rows, features) as the model takes them, float64.

        Args:
            X: a DataFrame with (at least) the columns trained on, or an array with exactly those, in order; for
                images and sequences also an array of them.

        Raises:
            DataError: columns are missing, or hold text where there were numbers.
        """
        import numpy as np
        import pandas as pd

        if not isinstance(X, pd.DataFrame):
            X = np.atleast_2d(np.asarray(X))
            shape = self.shape
            if len(shape) > 1 and X.shape[1:] in (shape, (*shape, 1), shape[:-1] if shape[-1] == 1 else shape):
                X = X.reshape(len(X), -1)
            if X.ndim != 2 or X.shape[1] != len(self.columns):
                raise DataError(
                    f"given rows of shape {X.shape}, expected (rows, {len(self.columns)}): {_few(self.columns)}"
                )
            X = pd.DataFrame(X, columns=self.columns)
        X = X.rename(columns=str)
        absent = [c for c in self.columns if c not in X.columns]
        if absent:
            raise DataError(f"the rows have no column {_few(absent)}; expected {_few(self.columns)}")
        prepared = [self._scaled(X[list(self.numbers)])]
        for name, fit in self.categories.items():
            texts = category_names(X[name]).fillna(fit["fill"]).to_numpy(dtype=object)
            prepared.append((texts[:, None] == np.array(fit["known"], dtype=object)[None, :]).astype(np.float64))
        return np.hstack(prepared)

    def names(self, X: np.ndarray) -> dict[str, Any]:
        """A column with what some prepared rows are called; none where, as in a table, they have no names."""
        return {}

    def _scaled(self, X: pd.DataFrame) -> np.ndarray:
        """The columns of numbers (rows, numbers), filled and scaled; all at once, for an image has many."""
        import numpy as np

        try:
            values = X.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)  # filled in place
        except (TypeError, ValueError):
            for name in X.columns:
                try:
                    X[name].to_numpy(dtype=np.float64, na_value=np.nan)
                except (TypeError, ValueError):
                    raise DataError(f"column {name!r} holds text, expected numbers as in training") from None
            raise
        fits = self.numbers.values()
        gaps = np.isnan(values)
        for at in np.flatnonzero(gaps.any(axis=0)).tolist():
            name, fill = X.columns[at], self.numbers[X.columns[at]]["fill"]
            if fill is None:
                raise DataError(
                    f"column {name!r} misses {int(gaps[:, at].sum())} values, and training had no rule for them"
                )
            values[gaps[:, at], at] = fill
        shift, scale = (np.array([fit[key] for fit in fits], dtype=np.float64) for key in ("shift", "scale"))
        return np.asarray((values - shift) / scale)

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
        from scipy.special import expit, softmax

        if self.task == "regression":
            raise DataError("a regression has no classes to give probabilities of; use predict")
        z = logits.astype(np.float64)
        if self.task == "multiclass":
            return np.asarray(softmax(z, axis=1))
        return np.hstack([expit(-z), expit(z)])


class Dataset(NamedTuple):
    """The three parts, ready for a trainer.

    Attributes:
        batches: what gives the training rows, where the device does not keep them; then ``training`` may be but the
            first of them.
    """

    training: Part
    validation: Part
    test: Part
    preprocessing: Preprocessing
    batches: Batches | None = None


KINDS: dict[str, str] = {"graph": "lmkit.data.graphs", "loader": "lmkit.data.own", "text": "lmkit.data.text"}
"""Kind of data that is no table → the module that knows it: its ``load``, ``prepare`` and ``Preprocessing``."""


def read_preprocessing(values: dict[str, Any]) -> Preprocessing:
    """The preprocessing that ``to_dict`` wrote into a run's folder."""
    kind = values.get("kind", "table")
    known = importlib.import_module(KINDS[kind]).Preprocessing if kind in KINDS else Preprocessing
    found: Preprocessing = known(**{name: value for name, value in values.items() if name != "kind"})
    return found


def read(spec: DataSpec, root: str | Path | None = None) -> Any:
    """The data of ``spec`` as it came: a table, or what the module of its kind makes of it, which has a table's
    ``y``, ``task`` and ``signature``."""
    return importlib.import_module(KINDS[spec.kind]).load(spec, root) if spec.kind in KINDS else load(spec, root)


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """The data of ``spec``, split by ``seed`` (stratified for classes) and prepared.

    Args:
        spec: what to load and how to prepare it.
        seed: decides the split.
        precision: dtype of the arrays, ``float32`` or ``float64``.
        root: where the runs are, and data kept beside them.

    Raises:
        DataError: it cannot be trained on.
    """
    if spec.kind in KINDS:
        prepared: Dataset = importlib.import_module(KINDS[spec.kind]).prepare(spec, seed, precision, root)
        return prepared
    if spec.streams:
        streamed: Dataset = importlib.import_module("lmkit.data.streaming").prepare(spec, seed, precision, root)
        return streamed
    return parted(spec, load(spec, root), seed, precision)


def parted(spec: DataSpec, table: Table, seed: int, precision: str) -> Dataset:
    """A table as three prepared parts; see ``prepare``."""
    import numpy as np

    check_sizes(spec, len(table.y))
    rows = split(spec, table, seed)
    preprocessing = fit(spec, table, rows[0])
    parts = []
    for chosen in rows:
        if len(chosen):
            X = preprocessing.apply(table.X.iloc[chosen])
            y = preprocessing.encode(table.y.iloc[chosen])
        else:
            X, y = np.empty((0, len(preprocessing.features))), np.empty((0,))
        parts.append(Part(X.astype(precision), y if table.task == "multiclass" else y.astype(precision)))
    training, validation, test = parts
    return Dataset(training, validation, test, preprocessing, augmented(spec, training, preprocessing, seed))


def augmented(spec: DataSpec, training: Part, known: Preprocessing, seed: int) -> Batches | None:
    """The batches in which the training rows are changed anew each time; None where they stay as they are."""
    if spec.augment is None or spec.augment == Augmentation():
        return None
    return Gathered(training, spec.batch_size, Augment(spec.augment, known), seed)


def fit(spec: DataSpec, table: Table, rows: np.ndarray) -> Preprocessing:
    """Fits what scales, fills and encodes on the training ``rows`` of ``table``, with scikit-learn."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    X, y = table.X.iloc[rows], table.y.iloc[rows]
    empty = [str(c) for c in X.columns if X[c].isna().all()]
    if empty:
        raise DataError(
            f"column {empty[0]!r} has no value in the {len(rows)} rows of the training part; "
            f"write data: {{drop: [{', '.join(empty)}]}}"
        )
    text = [c for c in X.columns if X[c].dtype == object]
    numeric = [c for c in X.columns if c not in text]
    fills = spec.missing in ("mean", "median", "most_frequent")
    numbers: dict[str, dict[str, Any]] = {}
    moves = bool(spec.augment and spec.augment.moves)
    if numeric:
        values = X[numeric].to_numpy(dtype=np.float64)
        fill: list[float | None] = [None] * len(numeric)
        if fills:
            imputer = SimpleImputer(strategy=spec.missing, keep_empty_features=True).fit(values)
            fill, values = imputer.statistics_.tolist(), imputer.transform(values)
        if moves:  # pixels change places, so that all of a channel are scaled alike
            values = values.reshape(-1, table.shape[-1])
        shift, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
        if spec.scale == "standard":
            scaler = StandardScaler().fit(values)
            shift, scale = scaler.mean_, scaler.scale_
        elif spec.scale == "minmax":
            bounds = MinMaxScaler().fit(values)
            shift, scale = bounds.data_min_, 1 / bounds.scale_
        if moves:
            shift, scale = (np.tile(v, len(numeric) // len(v)) for v in (shift, scale))
        numbers = {
            str(n): {"fill": f, "shift": float(m), "scale": float(s)}
            for n, f, m, s in zip(numeric, fill, shift, scale, strict=True)
        }
    texts: dict[str, dict[str, Any]] = {}
    for name in text:
        column = X[[name]].dropna()
        known = [str(v) for v in OneHotEncoder().fit(column).categories_[0]]
        usual = SimpleImputer(strategy="most_frequent").fit(column).statistics_[0] if fills else ""
        texts[str(name)] = {"fill": str(usual), "known": known}
    classes = [] if table.task == "regression" else [plain_value(v) for v in sorted(table.y.unique())]
    target = {"shift": 0.0, "scale": 1.0}
    if table.task == "regression" and spec.scale_target:
        scaler = StandardScaler().fit(y.to_numpy(dtype=np.float64)[:, None])
        target = {"shift": float(scaler.mean_[0]), "scale": float(scaler.scale_[0])}
    labels = [table.labels.get(v, str(v)) for v in classes]
    names = [str(c) for c in X.columns]
    return Preprocessing(table.task, numbers, texts, names, classes, labels, target, table.shape)


def batch_order(seed: int, epoch: int, rows: int) -> np.ndarray:
    """The order (rows,) of the training rows in ``epoch`` (counted from 0), the same for every framework."""
    import numpy as np

    return np.random.default_rng([seed, 1, epoch]).permutation(rows)


def split(spec: DataSpec, table: Table, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of training, validation and test."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    sizes = part_sizes(spec, len(table.y))
    rest, parts = np.arange(len(table.y)), {}
    for name in ("test", "validation"):
        parts[name] = rest[:0]
        if sizes[name]:
            classes = table.y.iloc[rest] if table.task != "regression" else None
            try:
                rest, parts[name] = train_test_split(rest, test_size=sizes[name], random_state=seed, stratify=classes)
            except ValueError:
                counts = table.y.value_counts()
                raise DataError(
                    f"the classes cannot be split evenly into {', '.join(f'{v} {k}' for k, v in sizes.items())} rows: "
                    f"the smallest class, {plain_value(counts.index[-1])!r}, has {counts.iloc[-1]}; "
                    "give each class more rows, or write data: {validation: 0} or {test: 0}"
                ) from None
    return rest, parts["validation"], parts["test"]


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f", … ({len(names)} in all)" if len(names) > 6 else "")
