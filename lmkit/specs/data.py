"""The data of an experiment, and how they are split and prepared."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from lmkit.exceptions import ConfigError, shorten
from lmkit.specs.augmentation import Augmentation
from lmkit.specs.base import Names, Spec, as_tuple, short
from lmkit.specs.file_names import FILES, STREAMS, TEXTS
from lmkit.specs.graph import GraphSpec
from lmkit.specs.references import OBJECT
from lmkit.specs.signature import Graph, Shape, Signature
from lmkit.specs.tasks import TASKS, TaskName
from lmkit.specs.text import BYTES, Text, TextSpec

Axes = Literal["auto", "image", "sequence"]


class _Choice:
    """The type of ``data.task``: auto, or a configurable task, of those that are registered at validation."""

    @staticmethod
    def names() -> list[str]:
        """Return the accepted values."""
        return ["auto", *(name for name, task in TASKS.items() if task.configurable)]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Validate as a literal of the names would."""

        def check(value: Any) -> Any:
            if value not in self.names():
                *rest, last = map(repr, self.names())
                raise PydanticKnownError("literal_error", {"expected": f"{', '.join(rest)} or {last}"})
            return value

        return core_schema.no_info_before_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Return the names as an enumeration."""
        return {"enum": self.names(), "type": "string"}


TaskChoice = Annotated[str, _Choice()]
"""The values of ``data.task``."""


class Bundled(NamedTuple):
    """The properties of a data set that are known before it is loaded."""

    rows: int
    shape: Shape
    task: TaskName
    outputs: int
    edges: int = 0

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of a model; of a graph only its sizes."""
        graph = Graph.sized(self.rows, self.shape[0], 2 * self.edges) if self.edges else None
        return Signature(self.shape, self.outputs, self.task, graph=graph)

    def suits(self, task: str) -> bool:
        """Return whether the target suits another task: two classes may have an output each."""
        return (task, self.task) == ("multiclass", "binary") and not self.edges


BUNDLED = {
    "breast_cancer": Bundled(569, (30,), "binary", 1),
    "wine": Bundled(178, (13,), "multiclass", 3),
    "digits": Bundled(1797, (8, 8, 1), "multiclass", 10),
    "diabetes": Bundled(442, (10,), "regression", 1),
    "karate_club": Bundled(34, (34,), "binary", 1, edges=78),
}
"""The data sets in the packages scikit-learn and NetworkX (a graph)."""

PYTHON_DOCS = "python_docs"
"""The part of Python's documentation that the standard library contains."""

STORED = "stored:"
"""The prefix of the source of data that were passed in memory; the hash of the content follows."""

STREAM_BYTES = 2**28
"""Files above this size are read piece by piece: in memory they take several times as much."""

HUB = "hf:"
"""The prefix of the source of a Hugging Face data set: a name on the hub, or a folder, follows."""

SHARED_KINDS = ("table", "graph")
"""Kinds of data of which a share of the training rows can be drawn."""

OF_TEXT: dict[str, Any] = {"validation": 0.1, "test": 0.1, "batch_size": 16}
"""Defaults for a text, which has many long rows."""


def _check_encoding(name: str) -> str:
    """Return the name of an encoding that Python knows."""
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(f"given {shorten(name)}, expected an encoding such as utf-8, cp1252 or utf-16") from None
    return name


def _number_as_text(value: Any) -> Any:
    """Return the number of a sheet as text; any other value unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


MAX_SIDE = 2**14
"""Pixels of a side of an image at most."""

MAX_PATH, MAX_PATH_PART = 4096, 255
"""Bytes of a path, and of each of its parts, that a file system accepts."""


def _check_length(source: str) -> str:
    """Return a source; refuse one that is longer than any path."""
    parts = [len(part.encode(errors="replace")) for part in source.split("/")]
    if sum(parts) + len(parts) > MAX_PATH or max(parts) > MAX_PATH_PART:
        raise ValueError(f"given {shorten(source)}, a text of {len(source):,} letters, expected a name or a path")
    return source


class DataSpec(Spec):
    """The data of an experiment, and how they are split and prepared."""

    source: Annotated[str, AfterValidator(_check_length)] = "breast_cancer"
    """A bundled set (breast_cancer, wine, digits, diabetes; a graph: karate_club); a .csv, .tsv, .parquet, .feather,
    .json, .ndjson, .arff, .xlsx or .npz file, text also compressed; a folder with train.csv and test.csv; a folder of
    images with a subfolder per class; hf: and a name on Hugging Face, or a folder; or a text: python_docs, a .txt or
    .jsonl file, or a folder of .txt files; with a target these files are tables."""
    target: str | None = None
    """The column to predict, in a table; in an .npz file the array (default: y)."""
    task: TaskChoice = "auto"
    """The task; auto: regression for numbers with fractions or many values, else classification."""
    axes: Axes = "auto"
    """What an array of rows (a, b) holds: images of a × b pixels, or sequences of a steps with b channels; auto: images
    where neither side is over four times the other."""
    size: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_SIDE)], ...], Strict(False), BeforeValidator(as_tuple)] = ()
    """Height and width in pixels to which images in files are resized; empty: the most frequent size."""
    sheet: Annotated[str, Field(min_length=1), BeforeValidator(_number_as_text)] | None = None
    """Excel: the sheet, by its name or its number from 0; the first where it is not given."""
    drop: Names = ()
    """Columns to leave out; ``when.age`` leaves out one of the features of a column of dates."""
    ids: Names | None = None
    """Columns that identify the rows, such as a name or a number, and are no features; not given: those whose values
    all differ and that are texts, or are called so, or count the rows. An empty list: none."""
    categorical: Names = ()
    """Numeric columns to treat as categories; text columns always are."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """CSV: the sign between two values; inferred where it is not given."""
    encoding: Annotated[str, AfterValidator(_check_encoding)] | None = None
    """CSV: the encoding, such as cp1252 or utf-16; inferred where it is not given."""
    decimal: Literal[".", ","] | None = None
    """CSV: the decimal sign; inferred where it is not given."""
    header: bool | None = None
    """CSV: whether the first line names the columns; inferred where it is not given."""
    scale: Literal["standard", "minmax", "none"] = "standard"
    """Scaling of the features, fitted on the training part: mean 0 and deviation 1, or 0 to 1."""
    scale_target: bool = True
    """Regression: train on the target at mean 0 and deviation 1; MAE and predictions keep its own unit."""
    missing: Literal["error", "drop", "mean", "median", "most_frequent"] = "error"
    """How to handle missing numbers: raise an error, drop the rows (also those without a target), or fill with a
    statistic of the training part. A missing category is a category of its own, unless it is dropped or filled."""
    missing_values: Annotated[tuple[str | int | float, ...], Strict(False), BeforeValidator(as_tuple)] | None = None
    """Values that stand for a missing one, such as "?" or -999, besides the usual ones of CSV files (NA, null, nan, …);
    not given: signs such as "?", "n/a" and "-" that stand among numbers or dates. An empty list: no others."""
    text: Text | None = None
    """How a text is tokenized; a table is read as a text if this is set."""
    graph: Annotated[GraphSpec, short("edges")] | None = None
    """The edges between the rows of a table, which is then a graph with the rows as nodes."""
    group: str | None = None
    """A column whose rows of one value are all in one part, such as a patient; it is no feature."""
    time: str | None = None
    """A column of dates or numbers that orders the rows: the latest are the test part, those before them validation."""
    validation: float = Field(0.2, ge=0, lt=1)
    """Fraction of the rows for validation; default for a text: 0.1."""
    test: float = Field(0.2, ge=0, lt=1)
    """Fraction of the rows for the final test; default for a text: 0.1."""
    training_share: float = Field(1.0, gt=0, le=1)
    """Fraction of the training part to train on. A smaller one is a part of each larger one of the same seed, and
    validation and test stay what they are."""
    batch_size: int = Field(32, ge=1)
    """Rows per training step; default for a text: 16."""
    augment: Augmentation | None = None
    """Random changes of the training rows, drawn for every batch."""
    streaming: Literal["auto", "on", "off"] = "auto"
    """Read a Parquet or CSV file piece by piece and store the prepared rows in files, for data larger than memory;
    auto: files over 256 MiB."""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(source := values.get("source"), str):
            if values.get("text") is None and holds_texts(source):
                values = {**values, "text": {}}  # a folder's name does not say so, and the folder may be removed later
            if values.get("text") is not None or is_text(source, values.get("target")):
                values = {**OF_TEXT, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> DataSpec:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation ({self.validation:g}) and test ({self.test:g}) leave nothing to train on; "
                "their sum must be under 1"
            )
        self._check_order()
        if self.kind == "text":
            self._check_text()
        if self.kind == "graph":
            self._check_graph()
        try:
            signature = self.signature
        except ConfigError as error:
            raise ValueError(error.problems[0]) from None
        if len(self.size) not in (0, 2):
            raise ValueError(f"data.size: given {list(self.size)}, expected a height and a width, such as [32, 32]")
        if self.training_share < 1 and (self.kind not in SHARED_KINDS or self.streams):
            raise ValueError(
                f"data.training_share: given {self.training_share:g} for a "
                f"{'streamed file' if self.streams else self.kind}, expected 1: only of a table or a graph in memory "
                "a share of the rows can be drawn"
            )
        if self.streaming == "on" and not self.source.lower().endswith(STREAMS):
            raise ValueError(
                f"data.streaming: given 'on', but {shorten(self.source)} is no file that ends in "
                f"{' or '.join(STREAMS)}; "
                "write streaming: auto"
            )
        if self.augment and self.kind != "table":
            raise ValueError(f"data.augment: given for a {self.kind}, expected images or a table; leave augment out")
        if self.augment and signature and (problem := self.augment.problem(signature.shape)):
            raise ValueError(problem)
        return self

    def _check_order(self) -> None:
        """Raise an error for a split by groups or by time that does not suit the data."""
        if self.group and self.time:
            raise ValueError(
                f"data.group: given {shorten(self.group)}, and data.time {shorten(self.time)}; expected one of them"
            )
        for field in ("group", "time"):
            name = getattr(self, field)
            if name is not None and self.kind != "table":
                raise ValueError(f"data.{field}: given for a {self.kind}, expected a table; leave {field} out")
            if name is not None and name == self.target:
                raise ValueError(f"data.{field}: given {shorten(name)}, which is the target; expected another column")
        if self.sheet is not None and not self.source.lower().endswith(".xlsx"):
            raise ValueError(f"data.sheet: given, but {shorten(self.source)} is no .xlsx file; leave sheet out")

    def _check_text(self) -> None:
        """Raise an error for fields that only a table has, and for a source without text."""
        if self.bundled or self.source.startswith(STORED) or self.source.lower().endswith(".npz"):
            raise ValueError(
                f"data.text: given, but {shorten(self.source)} holds numbers, no text; leave text out, or write "
                f"source: {PYTHON_DOCS}, a {', '.join(TEXTS)}, .parquet or .csv file, or a folder of .txt files"
            )
        if self.target is not None:
            raise ValueError(
                f"data.target: given {shorten(self.target)}, but of a text the next token is predicted; leave "
                f"target out, "
                f"or write text: {{column: {self.target}}} if that is where the text is"
            )
        for field, default in (("task", "auto"), ("drop", ()), ("categorical", ()), ("ids", None)):
            if getattr(self, field) != default:
                raise ValueError(f"data.{field}: given, but the data is text, and only a table has it; leave it out")

    def _check_graph(self) -> None:
        """Raise an error for fields that do not suit a graph."""
        if self.bundled and self.graph:
            reason = "already has edges" if self.bundled.edges else "holds rows without edges"
            raise ValueError(f"data.graph: given, but {shorten(self.source)} {reason}; leave graph out")
        for field in ("drop", "categorical", "ids"):
            if self.bundled and getattr(self, field):
                raise ValueError(
                    f"data.{field}: given, but a node of {shorten(self.source)} has no columns; leave it out"
                )
        if self.missing == "drop":
            raise ValueError(
                "data.missing: given 'drop', but a node cannot be taken out of its graph; write median, mean or "
                "most_frequent"
            )

    @property
    def kind(self) -> str:
        """The kind of data (table, text, graph, loader), which decides how they are read and which models suit them."""
        if self.graph or (self.bundled and self.bundled.edges):
            return "graph"
        if self.source.startswith(OBJECT):
            return "loader"
        return "text" if self.text or is_text(self.source, self.target) else "table"

    @property
    def tokens(self) -> TextSpec:
        """How the text is tokenized."""
        return self.text or TextSpec()

    @property
    def bundled(self) -> Bundled | None:
        """The properties of a bundled set; None for other sources."""
        return BUNDLED.get(self.source)

    @property
    def signature(self) -> Signature | None:
        """The inputs and outputs of a model, if they are known before the data are loaded."""
        if self.kind == "text":
            vocabulary = BYTES + 1
            known_text = Signature.of_text(self.tokens.length, vocabulary)
            return known_text if self.tokens.tokenizer == "bytes" else None
        bundled = None if self.drop or self.categorical or self.ids else self.bundled
        if not bundled:
            return None
        signature = bundled.signature._replace(shape=row_shape(bundled.shape, self.axes))
        return signature._replace(task=self.task, outputs=2) if bundled.suits(self.task) else signature

    @property
    def is_file(self) -> bool:
        """Whether the source is a file."""
        return self.source.lower().endswith((*FILES, *TEXTS))

    @property
    def streams(self) -> bool:
        """Whether the file is read piece by piece: as configured, or because it is large."""
        if self.streaming != "auto" or self.kind != "table" or not self.source.lower().endswith(STREAMS):
            return self.streaming == "on"
        try:
            return Path(self.source).expanduser().stat().st_size > STREAM_BYTES
        except (OSError, ValueError, RuntimeError):
            return False  # no such file, or an invalid name; reading raises the error


def is_text(source: str, target: str | None = None) -> bool:
    """Return whether the name of a source says that it is text; with a target it is a table."""
    return source == PYTHON_DOCS or (source.lower().endswith(TEXTS) and target is None)


def holds_texts(source: str) -> bool:
    """Return whether a source is a folder that contains .txt files."""
    try:
        folder = Path(source).expanduser()
        return folder.is_dir() and any(folder.glob("*.txt"))
    except (OSError, ValueError, RuntimeError):
        return False  # an invalid name


def row_shape(shape: Shape, axes: Axes) -> Shape:
    """Return the shape of a row for the model, given that of an unprepared row.

    Raises:
        ConfigError: the row has no such axes.

    >>> row_shape((28, 28), "auto"), row_shape((100, 3), "auto"), row_shape((8, 8, 1), "sequence")
    ((28, 28, 1), (100, 3), (8, 8))
    """
    if len(shape) == 1:
        if axes != "auto":
            raise ConfigError(
                [f"data.axes: given {shorten(axes)}, but a row of the data is {shape[0]} columns; write axes: auto"]
            )
        return shape
    *sides, channels = shape if len(shape) == 3 else (*shape, 1)
    if axes == "sequence":
        if channels != 1:
            raise ConfigError([f"data.axes: given 'sequence', but a row of the data is of shape {shape}; write image"])
        return tuple(sides)
    if axes == "auto" and len(shape) == 2 and max(shape) > 4 * min(shape):
        return shape
    return (*sides, channels)


Data = Annotated[DataSpec, short("source")]
