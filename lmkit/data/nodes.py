"""Nodes of a graph by what they are called: with NumPy alone, so that a deployed model needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lmkit.data import preprocessing
from lmkit.data.preprocessing import plain_value
from lmkit.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Preprocessing(preprocessing.Preprocessing):
    """What was fitted on the nodes trained on, and what they are called. A model that is deployed holds the rest.

    Attributes:
        nodes: what the nodes are called, the first is number 0.
        column: what the column of these names is called.
    """

    nodes: list[Any]
    column: str

    @property
    def features(self) -> list[str]:
        """The names of the prepared features."""
        return super().features or [f"{self.column}={node}" for node in self.nodes]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "graph", **{f.name: getattr(self, f.name) for f in fields(Preprocessing)}}

    def names(self, X: np.ndarray) -> dict[str, Any]:
        """What the nodes of some prepared rows (rows, 1) are called."""
        return {self.column: [self.nodes[i] for i in X[:, 0]]}

    def apply(self, X: Any) -> np.ndarray:
        """Nodes as they are called → their numbers (rows, 1), as the model takes them.

        Args:
            X: names of nodes; or a DataFrame, or a list of mappings, with the column that holds them.

        Raises:
            DataError: there is no such node.
        """
        import numpy as np

        if isinstance(X, dict):
            X = [X]
        if hasattr(X, "columns"):
            if self.column not in X.columns:
                raise DataError(
                    f"the rows have no column {self.column!r}, which holds the nodes; {nearest(self.column, X.columns)}"
                )
            X = X[self.column].tolist()
        elif isinstance(X, list | tuple) and X and all(isinstance(row, dict) for row in X):
            absent = next((row for row in X if self.column not in row), None)
            if absent is not None:
                raise DataError(
                    f"a row has no {self.column!r}, which holds the node; {nearest(self.column, map(str, absent))}"
                )
            X = [row[self.column] for row in X]
        asked = np.atleast_1d(np.asarray(X, dtype=object)).reshape(-1).tolist()
        found = numbers(asked, self.nodes)
        strange = np.flatnonzero(found < 0)
        if len(strange):
            known = ", ".join(map(str, self.nodes[:6])) + (", …" if len(self.nodes) > 6 else "")
            raise DataError(
                f"there is no node {plain_value(asked[strange[0]])!r} among the {len(self.nodes)} of the graph "
                f"({known}); a graph is learnt as a whole: add new nodes to its tables, without a label, and train anew"
            )
        return found[:, None]


def numbers(called: Iterable[Any], nodes: list[Any]) -> np.ndarray:
    """The number of each node by what it is called; −1 where there is none. 7, 7.0 and "7" call the same one.

    >>> numbers([7.0, "7", 8], [5, 7]).tolist()
    [1, 1, -1]
    """
    import numpy as np

    known = {str(node): i for i, node in enumerate(nodes)}
    return np.array([known.get(str(plain_value(v)), -1) for v in called], dtype=np.int64)
