"""Kinds of data: table, image, sequence, text, graph and loader, and what the rest of lmkit asks of a kind.

Importing this module imports no other package: a bundle reads its preprocessing with it. The module of a kind, which
reads and prepares data, is imported when one of its functions is called.
"""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DamagedFile
from lmkit.preprocessing.check import check_preprocessing
from lmkit.system.reading import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lmkit.data.dataset import Dataset
    from lmkit.preprocessing.table import TablePreprocessing
    from lmkit.specs.data import DataSpec
    from lmkit.specs.signature import Signature

MAX_PROBLEM = 300
"""Letters of what is wrong with a preprocessing."""


@dataclass(frozen=True)
class DataKind:
    """A kind of data.

    Attributes:
        name: as ``DataSpec.kind`` and ``preprocessing.json`` spell it.
        module: the module that reads and prepares the data.
        preprocessing: ``module:class`` of its preprocessing, which needs NumPy alone.
        row: what a row is, before its shape ("an image of"); empty for the rows of a table.
        rows: the plural of a row.
        has_batches: whether training takes batches of rows; a step over a graph computes all nodes.
        has_row_split: whether rows are drawn into the parts one by one; parts of a text are stretches of it.
        has_columns: whether a row has named columns, which are scaled and filled.
        has_preview: whether reading the data runs no code of the user's.
        generates: whether a model of it can generate more of it.
        task: the task of every model of it; empty: the target decides.
        unused: the fields of its specification that have no effect.
    """

    name: str
    module: str
    preprocessing: str
    row: str = ""
    rows: str = "rows"
    has_batches: bool = True
    has_row_split: bool = True
    has_columns: bool = False
    has_preview: bool = True
    generates: bool = False
    task: str = ""
    unused: tuple[str, ...] = ()

    @property
    def _module(self) -> ModuleType:
        return importlib.import_module(self.module)

    def load(self, spec: DataSpec, root: str | Path | None = None) -> Any:
        """Read the data of ``spec``: a ``Table``, or an object with the ``y``, ``task`` and ``signature`` of one.

        Raises:
            DataError: the data cannot be read, or cannot be trained on.
        """
        return self._module.load(spec, root)

    def prepare(self, spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
        """Read, split and prepare the data of ``spec``; see ``lmkit.data.preparation.prepare``."""
        dataset: Dataset = self._module.prepare(spec, seed, precision, root)
        return dataset

    def check(self, spec: DataSpec, root: str | Path | None = None) -> Signature | None:
        """Check, before a run is created, that the data of ``spec`` can be trained on.

        Returns:
            The inputs and outputs of a model, where the data was read; large data is checked by the worker.

        Raises:
            DataError: the data cannot be trained on.
        """
        signature: Signature | None = self._module.check(spec, root)
        return signature

    def read_signature(self, spec: DataSpec, root: str | Path | None = None) -> tuple[Signature, int | None]:
        """Return the inputs and outputs of a model, and the number of rows; None where it is unknown before training.

        The data is read only where its specification does not tell the signature.

        Raises:
            DataError, ConfigError: the signature is unknown before training, or the data cannot be trained on.
        """
        signature: tuple[Signature, int | None] = self._module.read_signature(spec, root)
        return signature

    def example_rows(self, spec: DataSpec, seed: int, data: Dataset, count: int, root: str | Path) -> list[Any]:
        """Return rows of the first part that has any of test, validation and training, as ``predict`` takes them.

        Args:
            spec: the data.
            seed: the seed of the split.
            data: the same data, prepared.
            count: number of rows.
            root: the folder of the runs.
        """
        rows: list[Any] = self._module.example_rows(spec, seed, data, count, root)
        return rows

    def read_preprocessing(self, values: Mapping[str, Any]) -> TablePreprocessing:
        """Return the preprocessing that its ``to_dict`` or ``bundle_dict`` wrote."""
        module, _, name = self.preprocessing.partition(":")
        preprocessing: TablePreprocessing = getattr(importlib.import_module(module), name).from_dict(values)
        return preprocessing


TABLE = DataKind("table", "lmkit.data.tables.kind", "lmkit.preprocessing.table:TablePreprocessing", has_columns=True)

IMAGE = replace(TABLE, name="image", row="an image of", rows="images")

SEQUENCE = replace(TABLE, name="sequence", row="a sequence of", rows="sequences")

TEXT = DataKind(
    "text",
    "lmkit.data.text.rows",
    "lmkit.preprocessing.text:TextPreprocessing",
    has_row_split=False,
    generates=True,
    task="language",
    unused=(
        *(
            "target",
            "axes",
            "size",
            "drop",
            "ids",
            "categorical",
            "missing_values",
            "scale",
            "scale_target",
            "missing",
            "graph",
        ),
        "training_share",
    ),
)

GRAPH = DataKind(
    "graph",
    "lmkit.data.graphs.graphs",
    "lmkit.preprocessing.graph:NodePreprocessing",
    row="a node of",
    rows="nodes",
    has_batches=False,
    unused=("axes", "size", "text", "batch_size"),
)

LOADER = DataKind(
    "loader", "lmkit.data.loaders.kind", "lmkit.preprocessing.loader:LoaderPreprocessing", has_preview=False
)

KINDS = {kind.name: kind for kind in (TABLE, IMAGE, SEQUENCE, TEXT, GRAPH, LOADER)}


def get_kind(spec: DataSpec | str) -> DataKind:
    """Return the kind of the data of ``spec``, or the kind of a name.

    >>> get_kind("text").has_row_split
    False
    """
    return KINDS[spec if isinstance(spec, str) else spec.kind]


def row_kind(signature: Signature) -> DataKind:
    """Return the kind of the rows that a model takes, whatever their source.

    >>> from lmkit.specs.signature import Signature
    >>> row_kind(Signature((28, 28, 1), 10, "multiclass")).name
    'image'
    """
    if signature.vocabulary:
        return TEXT
    if signature.graph is not None:
        return GRAPH
    return {2: SEQUENCE, 3: IMAGE}.get(len(signature.shape), TABLE)


def read_preprocessing(values: Mapping[str, Any], path: str | Path = "preprocessing.json") -> TablePreprocessing:
    """Return the preprocessing in ``preprocessing.json`` of a run or of a bundle; ``path`` is the file, for messages.

    Raises:
        DamagedFile: a value is missing, unknown, of another type, or does not fit the others.
    """
    try:
        preprocessing = get_kind(values.get("kind", "table")).read_preprocessing(values)
        check_preprocessing(preprocessing)
        return preprocessing
    except KeyError as error:
        problem = f"no {error}"
    except (AttributeError, TypeError, ValueError, OverflowError, zlib.error) as error:
        problem = str(error).replace("__init__() ", "")
    raise DamagedFile(path, problem[:MAX_PROBLEM])


def load_preprocessing(path: Path) -> TablePreprocessing | None:
    """Return the preprocessing in a file; None where there is no file; raises what ``read_preprocessing`` raises."""
    values = read_object(path)
    return None if values is None else read_preprocessing(values, path)
