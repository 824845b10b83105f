"""What to train on, how it is split and prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, Strict, model_validator

from lmkit.errors import ConfigError
from lmkit.specs.augmentation import Augmentation
from lmkit.specs.base import Names, Spec, several, short
from lmkit.specs.graph import GraphSpec
from lmkit.specs.references import OBJECT
from lmkit.specs.signature import Graph, Shape, Signature, Task
from lmkit.specs.text import BYTES, Text, TextSpec

Axes = Literal["auto", "image", "sequence"]


class Bundled(NamedTuple):
    """What is known of a data set before it is loaded."""

    rows: int
    shape: Shape
    task: Task
    outputs: int
    edges: int = 0

    @property
    def signature(self) -> Signature:
        """What a model takes and gives; of a graph its sizes."""
        graph = Graph.sized(self.rows, self.shape[0], 2 * self.edges) if self.edges else None
        return Signature(self.shape, self.outputs, self.task, graph=graph)


BUNDLED = {
    "breast_cancer": Bundled(569, (30,), "binary", 1),
    "wine": Bundled(178, (13,), "multiclass", 3),
    "digits": Bundled(1797, (8, 8, 1), "multiclass", 10),
    "diabetes": Bundled(442, (10,), "regression", 1),
    "karate_club": Bundled(34, (34,), "binary", 1, edges=78),
}
"""The sets that lie inside scikit-learn's own package, and a graph inside NetworkX's."""

PYTHON_DOCS = "python_docs"
"""The text of Python's documentation, as far as it lies inside the standard library."""

STORED = "stored:"
"""Begins the source of data that was handed over in memory; the rest is the hash of its content."""

FILES = (".csv", ".parquet", ".npz")

STREAMS = (".csv", ".parquet")
"""What can be read piece by piece."""

STREAM_BYTES = 2**28
"""Files above this size are read piece by piece: in memory they take several times as much."""

HUB = "hf:"
"""Begins the source of a data set of Hugging Face: the name on its hub, or a folder."""

TEXTS = (".txt", ".jsonl")
"""Files that hold text and nothing else; tables may hold it in a column."""

OF_TEXT: dict[str, Any] = {"validation": 0.1, "test": 0.1, "batch_size": 16}
"""What suits a text better than the defaults, where nothing else is said: its rows are long, and many."""


class DataSpec(Spec):
    """What to train on, how it is split and prepared."""

    source: str = "breast_cancer"
    """A bundled set (breast_cancer, wine, digits, diabetes; a graph: karate_club); a .csv, .parquet or .npz file; a
    folder of images, a subfolder a class; hf: and a name of Hugging Face, or a folder; or a text: python_docs, a .txt
    or .jsonl file, or a folder of .txt files."""
    target: str | None = None
    """The column to predict, in a table; in an .npz file the array (default: y)."""
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    """What is predicted; auto: numbers with fractions or many values are regression, the rest classes."""
    axes: Axes = "auto"
    """What an array of rows (a, b) holds: images of a × b pixels, or sequences of a steps with b channels; auto: images
    where neither side is over four times the other."""
    size: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False), BeforeValidator(several)] = ()
    """Height and width in pixels that images in files are brought to; empty: what most of them have."""
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
    text: Text | None = None
    """How a text becomes tokens; a table is read as a text where this is given."""
    graph: Annotated[GraphSpec, short("edges")] | None = None
    """The edges between the rows of a table, which are the nodes of a graph where this is given."""
    validation: float = Field(0.2, ge=0, lt=1)
    """Share of the rows that is held out to watch training; of a text 0.1, where nothing is said."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the rows that is held out to the very end; of a text 0.1, where nothing is said."""
    batch_size: int = Field(32, ge=1)
    """Rows a training step; of a text 16, where nothing is said."""
    augment: Augmentation | None = None
    """Changes the training rows anew each time they are shown."""
    streaming: Literal["auto", "on", "off"] = "auto"
    """Read a Parquet or CSV file piece by piece, and keep what is prepared in files, for it need not fit the memory;
    auto: files over 256 MiB."""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(source := values.get("source"), str):
            if values.get("text") is None and holds_texts(source):
                values = {**values, "text": {}}  # a folder's name does not tell, and it may be gone one day
            if values.get("text") is not None or is_text(source):
                values = {**OF_TEXT, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> DataSpec:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation ({self.validation:g}) and test ({self.test:g}) leave nothing to train on; "
                "their sum must be under 1"
            )
        if self.kind == "text":
            self._check_text()
        if self.kind == "graph":
            self._check_graph()
        try:
            known = self.signature
        except ConfigError as error:
            raise ValueError(error.problems[0]) from None
        if len(self.size) not in (0, 2):
            raise ValueError(f"data.size: given {list(self.size)}, expected a height and a width, such as [32, 32]")
        if self.streaming == "on" and not self.source.lower().endswith(STREAMS):
            raise ValueError(
                f"data.streaming: given 'on', but {self.source!r} is no file that ends in {' or '.join(STREAMS)}; "
                "write streaming: auto"
            )
        if self.augment and self.kind != "table":
            raise ValueError(f"data.augment: given for a {self.kind}, expected images or a table; leave augment out")
        if self.augment and known and (problem := self.augment.problem(known.shape)):
            raise ValueError(problem)
        return self

    def _check_text(self) -> None:
        """Refuses what only a table has, and a text that is none."""
        if self.bundled or self.source.startswith(STORED) or self.source.lower().endswith(".npz"):
            raise ValueError(
                f"data.text: given, but {self.source!r} holds numbers, no text; leave text out, or write "
                f"source: {PYTHON_DOCS}, a {', '.join(TEXTS)}, .parquet or .csv file, or a folder of .txt files"
            )
        if self.target is not None:
            raise ValueError(
                f"data.target: given {self.target!r}, but of a text the next token is predicted; leave target out, "
                f"or write text: {{column: {self.target}}} if that is where the text is"
            )
        for field, default in (("task", "auto"), ("drop", ()), ("categorical", ())):
            if getattr(self, field) != default:
                raise ValueError(f"data.{field}: given, but the data is text, and only a table has it; leave it out")

    def _check_graph(self) -> None:
        """Refuses what a graph cannot be made of."""
        if self.bundled and self.graph:
            told = "has edges of its own" if self.bundled.edges else "holds rows that nothing joins"
            raise ValueError(f"data.graph: given, but {self.source!r} {told}; leave graph out")
        for field in ("drop", "categorical"):
            if self.bundled and getattr(self, field):
                raise ValueError(f"data.{field}: given, but a node of {self.source!r} has no columns; leave it out")
        if self.missing == "drop":
            raise ValueError(
                "data.missing: given 'drop', but a node cannot be taken out of its graph; write median, mean or "
                "most_frequent"
            )

    @property
    def kind(self) -> str:
        """What it is: a table, …; that decides how it is read, and which families can learn from it."""
        if self.graph or (self.bundled and self.bundled.edges):
            return "graph"
        if self.source.startswith(OBJECT):
            return "loader"
        return "text" if self.text or is_text(self.source) else "table"

    @property
    def tokens(self) -> TextSpec:
        """How the text becomes tokens."""
        return self.text or TextSpec()

    @property
    def bundled(self) -> Bundled | None:
        """What is known beforehand, for a bundled set."""
        return BUNDLED.get(self.source)

    @property
    def signature(self) -> Signature | None:
        """What a model takes and gives, as far as it is known beforehand."""
        if self.kind == "text":
            vocabulary = BYTES + 1
            known_text = Signature((self.tokens.length,), vocabulary, "language", vocabulary)
            return known_text if self.tokens.tokenizer == "bytes" else None
        known = None if self.drop or self.categorical else self.bundled
        return known.signature._replace(shape=row_shape(known.shape, self.axes)) if known else None

    @property
    def is_file(self) -> bool:
        """Whether the source is a file of the user's."""
        return self.source.lower().endswith((*FILES, *TEXTS))

    @property
    def streams(self) -> bool:
        """Whether it is read piece by piece: as asked for, else because the file is large."""
        if self.streaming != "auto" or self.kind != "table" or not self.source.lower().endswith(STREAMS):
            return self.streaming == "on"
        try:
            return Path(self.source).expanduser().stat().st_size > STREAM_BYTES
        except (OSError, ValueError, RuntimeError):
            return False  # no such file, or no such name of a file; that is said where it is read


def is_text(source: str) -> bool:
    """Whether a source is text by its name."""
    return source == PYTHON_DOCS or source.lower().endswith(TEXTS)


def holds_texts(source: str) -> bool:
    """Whether a source is a folder with .txt files in it."""
    try:
        folder = Path(source).expanduser()
        return folder.is_dir() and any(folder.glob("*.txt"))
    except (OSError, ValueError, RuntimeError):
        return False  # no such name of a folder


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
