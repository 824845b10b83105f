"""What to train on, how it is split and prepared."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from lmkit.specs.base import Names, Spec, short

Task = Literal["binary", "multiclass", "regression"]


class Bundled(NamedTuple):
    """What is known of a data set before it is loaded."""

    rows: int
    features: int
    task: Task
    outputs: int


BUNDLED = {
    "breast_cancer": Bundled(569, 30, "binary", 1),
    "wine": Bundled(178, 13, "multiclass", 3),
    "digits": Bundled(1797, 64, "multiclass", 10),
    "diabetes": Bundled(442, 10, "regression", 1),
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
        return self

    @property
    def bundled(self) -> Bundled | None:
        """What is known beforehand, for a bundled set."""
        return BUNDLED.get(self.source)

    @property
    def is_file(self) -> bool:
        """Whether the source is a file of the user's."""
        return self.source.lower().endswith(FILES)


Data = Annotated[DataSpec, short("source")]
