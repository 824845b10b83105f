"""What to train on, how it is split and prepared."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from lmkit.errors import ConfigError
from lmkit.specs.base import Names, Spec, short
from lmkit.specs.signature import Shape, Signature, Task

Axes = Literal["auto", "image", "sequence"]


class Bundled(NamedTuple):
    """What is known of a data set before it is loaded."""

    rows: int
    shape: Shape
    task: Task
    outputs: int

    @property
    def signature(self) -> Signature:
        """What a model takes and gives."""
        return Signature(self.shape, self.outputs, self.task)


BUNDLED = {
    "breast_cancer": Bundled(569, (30,), "binary", 1),
    "wine": Bundled(178, (13,), "multiclass", 3),
    "digits": Bundled(1797, (8, 8, 1), "multiclass", 10),
    "diabetes": Bundled(442, (10,), "regression", 1),
}
"""The sets that lie inside scikit-learn's own package."""

STORED = "stored:"
"""Begins the source of data that was handed over in memory; the rest is the hash of its content."""

FILES = (".csv", ".parquet", ".npz")


class DataSpec(Spec):
    """What to train on, how it is split and prepared."""

    source: str = "breast_cancer"
    """A bundled set (breast_cancer, wine, digits, diabetes), or a .csv, .parquet or .npz file."""
    target: str | None = None
    """The column to predict, in a table; in an .npz file the array (default: y)."""
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    """What is predicted; auto: numbers with fractions or many values are regression, the rest classes."""
    axes: Axes = "auto"
    """What an array of rows (a, b) holds: images of a × b pixels, or sequences of a steps with b channels; auto: images
    where neither side is over four times the other."""
    drop: Names = ()
    """Columns that are left out."""
    categorical: Names = ()
    """Columns that hold categories although they are numbers; text columns are categories anyway."""
    scale: Literal["standard", "minmax", "none"] = "standard"
    """Scaling of the features, fitted on the training part: mean 0 and deviation 1, or 0 to 1."""
    scale_target: bool = True
    """Regression: train on the target at mean 0 and deviation 1; MAE and predictions keep its own unit."""
    missing: Literal["error", "drop", "mean", "median", "most_frequent"] = "error"
    """What to do about missing values: refuse, drop the rows, or fill from the training part."""
    validation: float = Field(0.2, ge=0, lt=1)
    """Share of the rows that is held out to watch training."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the rows that is held out to the very end."""
    batch_size: int = Field(32, ge=1)
    """Rows a training step."""

    @model_validator(mode="after")
    def _check(self) -> DataSpec:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation ({self.validation:g}) and test ({self.test:g}) leave nothing to train on; "
                "their sum must be under 1"
            )
        try:
            _ = self.signature
        except ConfigError as error:
            raise ValueError(error.problems[0]) from None
        return self

    @property
    def kind(self) -> str:
        """What it is: a table, …; that decides how it is read, and which families can learn from it."""
        return "table"

    @property
    def bundled(self) -> Bundled | None:
        """What is known beforehand, for a bundled set."""
        return BUNDLED.get(self.source)

    @property
    def signature(self) -> Signature | None:
        """What a model takes and gives, as far as it is known beforehand."""
        known = None if self.drop or self.categorical else self.bundled
        return Signature(row_shape(known.shape, self.axes), known.outputs, known.task) if known else None

    @property
    def is_file(self) -> bool:
        """Whether the source is a file of the user's."""
        return self.source.lower().endswith(FILES)


def row_shape(given: Shape, axes: Axes) -> Shape:
    """The shape of a row for the model, from that of a row as it came.

    Raises:
        ConfigError: the row has no such axes.

    >>> row_shape((28, 28), "auto"), row_shape((100, 3), "auto"), row_shape((8, 8, 1), "sequence")
    ((28, 28, 1), (100, 3), (8, 8))
    """
    if len(given) == 1:
        if axes != "auto":
            raise ConfigError(
                [f"data.axes: given {axes!r}, but a row of the data is {given[0]} columns; write axes: auto"]
            )
        return given
    *sides, channels = given if len(given) == 3 else (*given, 1)
    if axes == "sequence":
        if channels != 1:
            raise ConfigError([f"data.axes: given 'sequence', but a row of the data is of shape {given}; write image"])
        return tuple(sides)
    if axes == "auto" and len(given) == 2 and max(given) > 4 * min(given):
        return given
    return (*sides, channels)


Data = Annotated[DataSpec, short("source")]
