"""Preprocessing of the nodes of a graph. It needs NumPy alone, for deployed models."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError, nearest
from lmkit.preprocessing.table import TablePreprocessing, without_default_kind
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.signature import Signature


@dataclass(frozen=True, eq=False, kw_only=True)
class NodePreprocessing(TablePreprocessing):
    """The names of the nodes, and scaling fitted on the training nodes. A deployed model contains the graph itself.

    Attributes:
        nodes: the names of the nodes; the first is node 0.
        column: the name of the column that holds them.
    """

    nodes: list[Any]
    column: str

    @property
    def features(self) -> list[str]:
        """The names of the prepared features."""
        return super().features or [f"{self.column}={node}" for node in self.nodes]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``preprocessing.json``."""
        values = {f.name: getattr(self, f.name) for f in fields(NodePreprocessing)}
        return {"kind": "graph", **without_default_kind(values)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TablePreprocessing:
        """Return the preprocessing that ``to_dict`` or ``bundle_dict`` wrote; only a run's contains the graph."""
        preprocessing = GraphPreprocessing if "values" in values else NodePreprocessing
        return preprocessing(**{name: value for name, value in values.items() if name != "kind"})

    def names(self, X: np.ndarray) -> dict[str, Any]:
        """Return the names of the nodes of prepared rows (rows, 1)."""
        return {self.column: [self.nodes[i] for i in X[:, 0]]}

    def encode_rows(self, X: Any) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """Return rows as ``apply`` does; a node that the graph does not have is an error."""
        return self.apply(X), {}

    def apply(self, X: Any) -> np.ndarray:
        """Return the indices (rows, 1) of nodes, as the model takes them.

        Args:
            X: names of nodes; or a DataFrame, or a list of mappings, with the column that holds them.

        Raises:
            DataError: the graph has no such node.
        """
        import numpy as np

        if isinstance(X, dict):
            X = [X]
        if hasattr(X, "columns"):
            if self.column not in X.columns:
                raise DataError(
                    f"the rows have no column {self.column!r}, which names the nodes; "
                    f"{nearest(self.column, X.columns, 'columns:')}"
                )
            X = X[self.column].tolist()
        elif isinstance(X, list | tuple) and X and all(isinstance(row, dict) for row in X):
            absent = next((row for row in X if self.column not in row), None)
            if absent is not None:
                raise DataError(
                    f"a row has no {self.column!r}, which names the node; "
                    f"{nearest(self.column, map(str, absent), 'columns:')}"
                )
            X = [row[self.column] for row in X]
        names = np.atleast_1d(np.asarray(X, dtype=object)).reshape(-1).tolist()
        indices = node_indices(names, self.nodes)
        unknown = np.flatnonzero(indices < 0)
        if len(unknown):
            first = ", ".join(map(str, self.nodes[:6])) + (", …" if len(self.nodes) > 6 else "")
            raise DataError(
                f"no node {plain_value(names[unknown[0]])!r} among the {len(self.nodes)} nodes of the graph ({first}); "
                "a model learns one graph: add new nodes to its tables, without a label, and train again"
            )
        return indices[:, None]


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphPreprocessing(NodePreprocessing):
    """Scaling fitted on the training nodes, and the whole graph as the model takes it.

    Nodes without columns are one-hot encoded (Kipf and Welling, 2017): the model learns from the edges alone.

    Attributes:
        values: (nodes, features), prepared.
        edges: (2, edges), node indices, both directions, no loops.
    """

    values: np.ndarray
    edges: np.ndarray

    def __post_init__(self) -> None:
        for name in ("values", "edges"):
            value = getattr(self, name)
            object.__setattr__(self, name, _decompress(value) if isinstance(value, dict) else value)
        super().__post_init__()

    def __eq__(self, other: object) -> bool:
        import numpy as np

        return type(self) is type(other) and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            if f.name in ("values", "edges")
            else getattr(self, f.name) == getattr(other, f.name)
            for f in fields(self)
        )

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of a model, with the graph."""
        from lmkit.specs.signature import Graph

        return super().signature._replace(graph=Graph(self.values, self.edges))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``preprocessing.json`` of a run; arrays are compressed text."""
        return super().to_dict() | {name: _compress(getattr(self, name)) for name in ("values", "edges")}

    def bundle_dict(self) -> dict[str, Any]:
        """Return the plain values that a bundle needs; its model contains the graph."""
        return super().to_dict()


def node_indices(names: Iterable[Any], nodes: list[Any]) -> np.ndarray:
    """Return the index of each node by its name, −1 for an unknown one. 7, 7.0 and "7" name the same node.

    >>> node_indices([7.0, "7", 8], [5, 7]).tolist()
    [1, 1, -1]
    """
    import numpy as np

    index_of = {str(node): i for i, node in enumerate(nodes)}
    return np.array([index_of.get(str(plain_value(v)), -1) for v in names], dtype=np.int64)


def _compress(array: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON can hold it, exact and small: most features of most graphs are zeros."""
    text = base64.b64encode(zlib.compress(array.tobytes())).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": text}


def _decompress(values: dict[str, Any]) -> np.ndarray:
    """Return the array of ``_compress``; what it claims to hold bounds what is unpacked.

    Raises:
        ValueError: it holds another number of bytes.
    """
    import numpy as np

    dtype, shape = np.dtype(values["dtype"]), tuple(int(n) for n in values["shape"])
    if dtype.hasobject or any(n < 0 for n in shape):
        raise ValueError(f"given an array of {dtype} and shape {shape}, expected numbers")
    size = dtype.itemsize * math.prod(shape)
    content = zlib.decompressobj().decompress(base64.b64decode(values["zlib"]), size + 1)
    if len(content) != size:
        raise ValueError(f"an array of shape {shape} has {size:,} bytes, and the file holds another number")
    return np.frombuffer(content, dtype=dtype).reshape(shape).copy()  # a writable copy
