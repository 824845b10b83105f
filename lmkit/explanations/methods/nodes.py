"""Graphs: which nodes, columns and edges the prediction of a node depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.display.figure import Chart
from lmkit.display.panels import SignedBars
from lmkit.display.table import Table
from lmkit.exceptions import ConfigError
from lmkit.explanations.integrated_gradients import IntegratedGradients, describe_remainder, integrated_gradients
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.model import ExplainedModel
from lmkit.specs.models.gcn import GCN

if TYPE_CHECKING:
    import numpy as np

MAX_NODES, MAX_EDGES = 3, 16
"""Nodes that are explained at once, and edges of each that are removed, at most."""

MAX_BARS = 12
"""Nodes and edges that are drawn."""


@dataclass(frozen=True)
class Nodes:
    """What the score of a node depends on.

    Attributes:
        score: what is explained, in words.
        rows: the names of the nodes that are explained, and ``predictions`` in words.
        nodes: the names of all nodes.
        columns: the names of the features of a node.
        values: attributions of the features of all nodes, (rows, nodes, features), by integrated gradients.
        edges: of each row, (node, node) → score minus the score without this edge, of the nearest edges.
        remainders: what is missing from completeness, as a share, (rows,); ``points`` of the quadrature, (rows,).
    """

    score: str
    rows: tuple[str, ...]
    predictions: tuple[str, ...]
    nodes: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    edges: tuple[dict[tuple[str, str], float], ...]
    remainders: np.ndarray
    points: np.ndarray

    @property
    def by_node(self) -> np.ndarray:
        """The attributions of all features of a node, summed, (rows, nodes)."""
        return self.values.sum(axis=2)  # type: ignore[no-any-return]

    def _top_nodes(self, row: int) -> list[int]:
        import numpy as np

        return [int(i) for i in np.argsort(-np.abs(self.by_node[row]), kind="stable")[:MAX_BARS]]

    def _top_edges(self, row: int) -> list[tuple[tuple[str, str], float]]:
        return sorted(self.edges[row].items(), key=lambda item: -abs(item[1]))[:MAX_BARS]

    @property
    def table(self) -> Table:
        """The nodes and edges that the first row depends on most."""
        rows: list[tuple[Any, ...]] = [("node", self.nodes[i], float(self.by_node[0, i])) for i in self._top_nodes(0)]
        rows += [("edge", f"{a} – {b}", value) for (a, b), value in self._top_edges(0)]
        return Table(f"{self.rows[0]}: what the {self.score} depends on", ("kind", "name", "contribution"), tuple(rows))

    @property
    def chart(self) -> Chart:
        """The strongest nodes and edges of the first row."""
        return self.row_chart(0)

    def row_chart(self, row: int) -> Chart:
        """Return the chart of one node."""
        nodes, edges = self._top_nodes(row), self._top_edges(row)
        values = tuple(float(self.by_node[row, i]) for i in nodes)
        panels = [SignedBars("attribution of a node's features", tuple(self.nodes[i] for i in nodes), values)]
        if edges:
            names = tuple(f"{a} – {b}" for (a, b), _ in edges)
            panels.append(SignedBars("score lost without the edge", names, tuple(v for _, v in edges)))
        return Chart(f"{self.rows[row]}, {self.predictions[row]}: {self.score}", tuple(panels), self.text)

    @property
    def text(self) -> str:
        """The strongest nodes and edges of the first row."""
        nodes = ", ".join(f"{self.nodes[i]} {self.by_node[0, i]:+.3g}" for i in self._top_nodes(0)[:4])
        edges = ", ".join(f"{a} – {b} {value:+.3g}" for (a, b), value in self._top_edges(0)[:4])
        return (
            f"{self.rows[0]}, {self.predictions[0]}: the {self.score} depends most on the features of {nodes} "
            "(integrated gradients)"
            + (f", and on the edges {edges} (score minus the score without the edge). " if edges else ". ")
            + describe_remainder(self.remainders, self.points)
        )


class NodesMethod:
    """Attributions of nodes, and the effect of edges, of graph convolutional networks."""

    order = 0

    def suits(self, explained: ExplainedModel) -> bool:
        """Models of the family of graph convolutional networks suit."""
        return isinstance(explained.run.experiment.model, GCN)

    def explain(self, request: Request) -> Nodes:
        """Return what at most ``MAX_NODES`` nodes depend on."""
        import numpy as np

        explained, (X, names, _) = request.explained, request.rows
        X, names = X[:MAX_NODES], names[:MAX_NODES]
        preprocessing: Any = explained.preprocessing
        classes = explained.select_classes(X, request.target)
        results = [
            self._attributions(explained, request.baseline, X[i : i + 1], classes[i : i + 1]) for i in range(len(X))
        ]
        nodes = tuple(str(node) for node in preprocessing.nodes)
        edges = [
            {
                (nodes[a], nodes[b]): value
                for (a, b), value in edge_effects(explained, X[i : i + 1], classes[i : i + 1]).items()
            }
            for i in range(len(X))
        ]
        return Nodes(
            explained.score_name(request.target),
            names,
            tuple(explained.describe(X)),
            nodes,
            tuple(preprocessing.features),
            np.concatenate([result.values for result in results]),
            tuple(edges),
            np.concatenate([result.remainders for result in results]),
            np.concatenate([result.points for result in results]),
        )

    @staticmethod
    def _attributions(
        explained: ExplainedModel, baseline: str, row: np.ndarray, classes: np.ndarray
    ) -> IntegratedGradients:
        """Return the attributions (1, nodes, features) to the score of one node; a graph is computed at a time."""
        import numpy as np

        slopes = explained.slopes(row, classes)

        def one(rows: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            scores, gradients = slopes(rows, inputs[0])
            return scores, gradients[None]

        features = explained.backend.continuous_inputs(explained.wrapped, row)
        if baseline not in ("mean", "zero"):
            raise ConfigError([f"baseline: given {baseline!r}, expected mean or zero"])
        start = (
            np.broadcast_to(features.mean(axis=0), features.shape) if baseline == "mean" else np.zeros(features.shape)
        )
        return integrated_gradients(one, features[None], start[None], piece=1)


def edge_effects(explained: ExplainedModel, row: np.ndarray, classes: np.ndarray) -> dict[tuple[int, int], float]:
    """Return edge → score of a node minus its score without that edge, in both directions.

    The model is built anew without each edge, so that degrees and attention follow. Edges as far from the node as
    there are convolutions count, the nearest first, at most ``MAX_EDGES``.
    """
    import numpy as np

    signature = explained.preprocessing.signature
    assert signature.graph is not None
    model = explained.run.experiment.model
    weights = explained.backend.weights(explained.wrapped)
    score = float(explained.scores(explained.outputs(row), classes)[0])
    features = explained.backend.continuous_inputs(explained.wrapped, row)
    senders, receivers = signature.graph.edges
    effects = {}
    for a, b in near_edges(signature.graph.edges, int(row[0, 0]), len(getattr(model, "hidden", ())) + 1)[:MAX_EDGES]:
        keep = ~(((senders == a) & (receivers == b)) | ((senders == b) & (receivers == a)))
        graph = signature.graph._replace(edges=signature.graph.edges[:, keep])
        other = explained.backend.build(model, signature._replace(graph=graph), explained.precision)
        explained.backend.set_weights(other, weights)
        # eagerly: a compiled prediction of each model takes seconds
        without, _ = explained.backend.input_gradients(other, row, features, np.zeros_like)
        effects[a, b] = score - float(explained.scores(without, classes)[0])
    return effects


def near_edges(edges: np.ndarray, node: int, steps: int) -> list[tuple[int, int]]:
    """Return the edges (smaller node first) within ``steps`` of a node, the nearest first.

    >>> import numpy as np
    >>> near_edges(np.array([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), 0, 2)
    [(0, 1), (1, 2)]
    """
    import numpy as np

    reached, frontier = {node}, {node}
    listed: dict[tuple[int, int], None] = {}
    for _ in range(steps):
        touching = np.isin(edges[0], list(frontier))
        pairs = sorted((min(a, b), max(a, b)) for a, b in edges[:, touching].T.tolist())
        listed |= dict.fromkeys(pairs)
        frontier = {n for pair in pairs for n in pair} - reached
        reached |= frontier
    return list(listed)


METHODS.add("nodes", NodesMethod())
