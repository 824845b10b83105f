"""What a model takes and gives, as far as its layers depend on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Task = Literal["binary", "multiclass", "regression", "language"]
"""What is predicted: one of two classes, one of several, a number, or at each place of a text what comes next."""

Shape = tuple[int, ...]
"""Of a row: (features,), an image's (height, width, channels), a sequence's (length, channels), a text's (tokens,)."""


class Graph(NamedTuple):
    """Nodes and what connects them.

    Attributes:
        features: (nodes, features), prepared.
        edges: (2, edges), the nodes that each edge joins, both directions and no loops.
    """

    features: np.ndarray
    edges: np.ndarray


class Signature(NamedTuple):
    """What a model takes and gives.

    Attributes:
        shape: of a row; in a graph, of a node.
        outputs: numbers that the model gives a row; for a language, each place of it.
        task: what is predicted.
        vocabulary: rows are numbers of tokens, below this; 0: rows are numbers that are computed with.
        graph: rows are numbers of its nodes, and the model reads the rest there.
    """

    shape: Shape
    outputs: int
    task: Task = "multiclass"
    vocabulary: int = 0
    graph: Graph | None = None

    @property
    def features(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape)
