"""The model of a run, as methods of explanation ask it: its scores, their gradients, its predictions, its data."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.backends import get_backend
from lmkit.data.batches import EVALUATION_NUMBERS
from lmkit.data.kinds import DataKind, row_kind
from lmkit.display.pictures import channels_last
from lmkit.display.units import format_number
from lmkit.exceptions import ConfigError, DataError, nearest
from lmkit.explanations.columns import Column, list_columns
from lmkit.explanations.integrated_gradients import Slopes
from lmkit.preprocessing.predict import check_outputs
from lmkit.specs.outputs import logit_slopes
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset
    from lmkit.preprocessing.table import TablePreprocessing
    from lmkit.run.run import Run

MAX_PIECE = 2048
"""Rows that a model computes at once, at most."""

TRIAL_ROWS = 16
"""Rows whose outputs are computed twice, to see whether the model draws random numbers."""

REFERENCE_ROWS = 2000
"""Training rows, at most, that stand for all of them."""

MAX_NUMBERS = 2**27
"""Numbers in the rows that are in memory at once, at most."""


class Rows(NamedTuple):
    """Rows to explain.

    Attributes:
        X: prepared, (rows, …).
        names: what each is called.
        y: the encoded targets; None where they are unknown.
    """

    X: np.ndarray
    names: tuple[str, ...]
    y: np.ndarray | None = None


class ExplainedModel:
    """The trained model of a run and its data.

    A *score* is what is explained: the logit of a class, or the prediction of a regression in the unit of the target.

    Args:
        run: the run, which is waited for; its last checkpoint is loaded, which may run the code of a custom model.
        data: of the run, where they are prepared already.

    Raises:
        RunStateError: the run has no checkpoint.
        UntrustedCode: it names code that this user has not run on this machine before.
        ConfigError: the model gives other outputs each time.
    """

    def __init__(self, run: Run, data: Dataset | None = None) -> None:
        self.run = run
        self._data = data
        self.wrapped = run.wait().built()
        self.backend = get_backend(run.experiment.framework)
        self.preprocessing: TablePreprocessing = run.preprocessing
        self.precision = run.experiment.training.weight_dtype

    @cached_property
    def kind(self) -> DataKind:
        """The kind of its rows."""
        return row_kind(self.preprocessing.signature)

    @cached_property
    def data(self) -> Dataset:
        """The data of the run, read again and prepared.

        Raises:
            DataError: they are not what they were, or no longer exist.
        """
        return self.run.prepare_data() if self._data is None else self._data

    @cached_property
    def columns(self) -> list[Column]:
        """The columns of a table."""
        return list_columns(self.preprocessing)

    @cached_property
    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale (features,) of rows of numbers: x = shift + scale · feature."""
        import numpy as np

        shift, scale = (np.zeros(self.preprocessing.signature.features), np.ones(self.preprocessing.signature.features))
        for column in self.columns:
            if not column.categories:
                shift[list(column.features)], scale[list(column.features)] = column.shift, column.scale
        return shift, scale

    def original(self, X: np.ndarray) -> np.ndarray:
        """Return prepared rows (rows, features) of numbers in the unit of the data."""
        shift, scale = self.scaling
        original: np.ndarray = X * scale + shift
        return original

    def shape_rows(self, X: np.ndarray) -> np.ndarray:
        """Return rows (rows, features) in the shape of a row; images as (rows, height, width, channels)."""
        rows = X.reshape(len(X), *self.preprocessing.shape)
        return channels_last(rows) if self.kind.name == "image" else rows

    @cached_property
    def reference(self) -> Part:
        """Training rows that stand for all of them, evenly spaced: at most ``REFERENCE_ROWS``."""
        return take_rows(self.data.training, REFERENCE_ROWS)

    @property
    def evaluation(self) -> tuple[str, Part]:
        """The name and the rows of the part that explanations are computed on: test, else validation, else training."""
        for name in ("test", "validation", "training"):
            part: Part = getattr(self.data, name)
            if len(part.X):
                return name, part
        raise DataError(f"{self.run.name} has no rows to explain")

    def baseline(self, name: str) -> np.ndarray:
        """Return the row (1, features) that attributions start from.

        Args:
            name: ``mean`` of the training rows, or ``zero`` as a prepared number.

        Raises:
            ConfigError: another name.
            DataError: the training rows no longer exist.
        """
        import numpy as np

        if name == "zero":
            return np.zeros((1, self.preprocessing.signature.features))
        if name == "mean":
            return np.asarray(self.reference.X.mean(axis=0, keepdims=True, dtype=np.float64))
        raise ConfigError([f"baseline: given {name!r}, expected mean or zero"])

    @property
    def piece(self) -> int:
        """Rows that are computed at once."""
        signature = self.preprocessing.signature
        inputs = signature.features * (64 if signature.vocabulary else 1)
        outputs = signature.outputs * (signature.features if self.task.per_position else 1)
        return max(1, min(MAX_PIECE, EVALUATION_NUMBERS // max(1, inputs, outputs // 4)))

    def cast(self, X: Any) -> np.ndarray:
        """Return prepared rows in the precision of the model; tokens and nodes keep their type."""
        import numpy as np

        X = np.asarray(X)
        return np.asarray(X, dtype=self.precision) if X.dtype.kind == "f" else X

    # -- predictions ------------------------------------------------------------------------------

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Return the outputs (rows, outputs) of prepared rows, a piece at a time."""
        import numpy as np

        size = self.piece
        parts = [self.backend.predict(self.wrapped, self.cast(X[i : i + size])) for i in range(0, len(X), size)]
        return np.concatenate(parts)

    def answers(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities (rows, classes), or values (rows, 1) in the unit of the target."""
        import numpy as np

        outputs = self.outputs(X)
        if self.task.numeric:
            return np.asarray(self.preprocessing.decode(outputs))[:, None]
        return np.asarray(self.preprocessing.probabilities(outputs))

    @cached_property
    def task(self) -> Any:
        """The task."""
        return get_task(self.preprocessing.task)

    @property
    def labels(self) -> list[str]:
        """The names of the classes."""
        return [str(label) for label in self.preprocessing.labels or self.preprocessing.classes]

    def check_repeatable(self, X: np.ndarray) -> None:
        """Check that the model gives the same, finite outputs for the same rows.

        Raises:
            ConfigError: it gives others.
            DataError: they are not finite.
        """
        import numpy as np

        rows = X[:TRIAL_ROWS]
        first, second = check_outputs(self.outputs(rows)), self.outputs(rows)
        if not np.allclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ConfigError(
                [
                    f"explain: the model of {self.run.name} gives other outputs each time for the same rows, so that "
                    "nothing follows from them: it draws random numbers in evaluation too; draw only in training "
                    "(F.dropout(x, training=self.training), or the argument `training` of a Keras layer)"
                ]
            )

    # -- scores -----------------------------------------------------------------------------------

    def resolve_class(self, target: Any) -> int | None:
        """Return the number of the class whose logit is explained; None for a regression, or without ``target``.

        Raises:
            DataError: no class is called so.
        """
        if target is None:
            return None
        if not self.task.has_classes:
            raise DataError(f"target: given {str(target)[:80]!r}, but {self.run.name} predicts {self.task.predicts}")
        for names in (self.labels, [str(value) for value in self.preprocessing.classes]):
            if str(target) in names:
                return names.index(str(target))
        raise DataError(f"target: no class {str(target)[:80]!r}; {nearest(str(target), self.labels, 'classes:')}")

    def select_classes(self, X: np.ndarray, target: int | None, positions: np.ndarray | None = None) -> np.ndarray:
        """Return the class (rows,) whose logit is explained: ``target``; else class 1 of one logit; else the predicted.

        ``positions`` (rows,) are those whose output is explained, where each position of a row has one.
        """
        import numpy as np

        if target is not None:
            return np.full(len(X), target)
        if self.task.numeric or self.preprocessing.outputs == 1:
            return np.ones(len(X), dtype=np.int64)
        outputs = self.outputs(X)
        outputs = outputs if positions is None else outputs[np.arange(len(X)), positions]
        return np.asarray(self.preprocessing.logits(outputs).argmax(axis=1))

    def scores(self, outputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the score (rows,) of each row's class."""
        import numpy as np

        logits = np.asarray(self.preprocessing.logits(outputs), dtype=np.float64)
        if self.task.numeric:
            return np.asarray(self.preprocessing.decode(outputs))
        if logits.shape[1] == 1:
            return np.asarray(logits[:, 0] * np.where(classes == 1, 1.0, -1.0))
        return np.asarray(logits[np.arange(len(logits)), classes])

    def cotangents(self, outputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the derivative (rows, outputs) of the score of each row by its outputs."""
        import numpy as np

        if self.task.numeric:
            return np.full(outputs.shape, self.preprocessing.target["scale"])
        slopes = logit_slopes(outputs, self.preprocessing.output_kind)
        if outputs.shape[1] == 1:
            return np.asarray(slopes * np.where(classes == 1, 1.0, -1.0)[:, None])
        return np.asarray(slopes * (np.arange(outputs.shape[1]) == classes[:, None]))

    def slopes(self, X: np.ndarray, classes: np.ndarray, positions: np.ndarray | None = None) -> Slopes:
        """Return a function of indices of rows and of inputs in their place: scores and gradients of the scores.

        ``positions`` (rows,) are those whose output is explained, where each position of a row has one.
        """
        import numpy as np

        def compute(rows: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            at = (np.arange(len(rows)), *(() if positions is None else (positions[rows],)))

            def cotangents(outputs: np.ndarray) -> np.ndarray:
                values = np.zeros(outputs.shape)
                values[at] = self.cotangents(outputs[at], classes[rows])
                return values

            outputs, gradients = self.backend.input_gradients(
                self.wrapped, self.cast(X[rows]), self.cast(inputs), cotangents
            )
            return self.scores(outputs[at], classes[rows]), gradients

        return compute

    def score_name(self, target: int | None) -> str:
        """Return what is explained in words."""
        if self.task.numeric:
            return "prediction (unit of the target)"
        if target is None and self.preprocessing.outputs > 1:
            return "logit of the predicted class"
        return f"logit of {self.labels[1 if target is None else target]!r}"

    def describe(self, X: np.ndarray) -> list[str]:
        """Return the prediction of each row in words."""
        return self.describe_answers(self.answers(X))

    def describe_answers(self, answers: np.ndarray) -> list[str]:
        """Return each of the ``answers`` of the model in words."""
        if self.task.numeric:
            return [f"{format_number(value)}" for value in answers[:, 0]]
        return [f"{self.labels[row.argmax()]} ({row.max():.0%})" for row in answers]


def take_rows(part: Part, count: int) -> Part:
    """Return at most ``count`` rows of a part, and ``MAX_NUMBERS`` numbers, evenly spaced."""
    import numpy as np

    rows = len(part.X)
    count = min(count, max(1, MAX_NUMBERS // math.prod(part.X.shape[1:])))
    indices = np.arange(rows) if rows <= count else np.linspace(0, rows - 1, count).astype(int)
    return type(part)(np.asarray(part.X[indices]), np.asarray(part.y[indices]))
