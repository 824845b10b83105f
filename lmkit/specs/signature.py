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

    @classmethod
    def sized(cls, nodes: int, features: int, edges: int) -> Graph:
        """A graph of which the sizes are known, and nothing else yet."""
        import numpy as np

        return cls(np.zeros((nodes, features)), np.zeros((2, edges), dtype=np.int64))

    def with_loops(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Senders, receivers and weights (edges + nodes,) of D^−½ (A+I) D^−½ (Kipf and Welling, 2017).

        I is a loop at each node, and D holds the degrees of A + I.

        >>> import numpy as np
        >>> pair = Graph(np.zeros((2, 1)), np.array([[0, 1], [1, 0]]))
        >>> [values.tolist() for values in pair.with_loops()]
        [[0, 1, 0, 1], [1, 0, 0, 1], [0.5, 0.5, 0.5, 0.5]]
        """
        import numpy as np

        nodes = len(self.features)
        senders, receivers = np.hstack([self.edges, np.tile(np.arange(nodes), (2, 1))])
        degrees = np.bincount(receivers, minlength=nodes)
        return senders, receivers, 1 / np.sqrt(degrees[senders] * degrees[receivers])


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
