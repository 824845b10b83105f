"""The signature of a model: the inputs and outputs on which its layers depend."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.tasks import TaskName

Shape = tuple[int, ...]
"""Of a row: (features,), an image's (height, width, channels), a sequence's (length, channels), a text's (tokens,)."""


class Graph(NamedTuple):
    """The nodes and edges of a graph.

    Attributes:
        features: (nodes, features), prepared.
        edges: (2, edges), the nodes that each edge joins, both directions and no loops.
    """

    features: np.ndarray
    edges: np.ndarray

    @classmethod
    def sized(cls, nodes: int, features: int, edges: int) -> Graph:
        """Return a graph of zeros with these sizes."""
        import numpy as np

        return cls(np.zeros((nodes, features)), np.zeros((2, edges), dtype=np.int64))

    def with_loops(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return senders, receivers and weights (edges + nodes,) of D^−½ (A+I) D^−½ (Kipf and Welling, 2017).

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
    """The inputs and outputs of a model.

    Attributes:
        shape: of a row; in a graph, of a node.
        outputs: the number of outputs per row; for a language, per position.
        task: the name of the task; see ``lmkit.specs.tasks``.
        vocabulary: the number of tokens, if rows are tokens; 0 if they are features.
        graph: the graph, if rows are the numbers of its nodes.
    """

    shape: Shape
    outputs: int
    task: TaskName = "multiclass"
    vocabulary: int = 0
    graph: Graph | None = None

    @classmethod
    def of_text(cls, length: int, vocabulary: int) -> Signature:
        """Return the signature of a language model: rows of ``length`` tokens, the next token at each position."""
        return cls((length,), vocabulary, "language", vocabulary)

    @property
    def features(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape)
