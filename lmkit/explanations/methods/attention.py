"""Attention maps of transformers, recomputed from the inputs of the layers and checked against their outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmkit.display.figure import Chart
from lmkit.display.pictures import Picture
from lmkit.display.table import Table
from lmkit.exceptions import LmkitError
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.methods.tokens import token_texts
from lmkit.explanations.model import ExplainedModel
from lmkit.specs.models.transformer import Transformer, turns

if TYPE_CHECKING:
    import numpy as np

MAX_ROWS = 4
"""Rows whose attention is computed, at most."""

MAX_WEIGHTS = 2**28
"""Weights of all layers, heads and rows in memory, at most; fewer rows of long texts are computed."""

TOLERANCE = 1e-3
"""The largest difference of p·v from the output of a layer, relative to its largest number."""


@dataclass(frozen=True)
class Attention:
    """Where each place of a row looks: softmax(QKᵀ/√d) of each head.

    Attributes:
        rows: the names of the rows.
        layers: the names of the attention layers.
        weights: for each layer, (rows, heads, places, places): of a place (second to last axis) over those that it
            attends to (last axis), which sum to 1.
        differences: for each layer, the largest difference of p·v from the layer's output, relative to its largest
            number: these maps are what the model computed with.
        places: of each row, the names of its places.
    """

    rows: tuple[str, ...]
    layers: tuple[str, ...]
    weights: tuple[np.ndarray, ...]
    differences: tuple[float, ...]
    places: tuple[tuple[str, ...], ...]

    @property
    def table(self) -> Table:
        """For each layer and head of the first row, how far back and how widely it looks."""
        import numpy as np
        from scipy.special import entr

        rows = []
        for layer, weights in zip(self.layers, self.weights, strict=True):
            count = weights.shape[-1]
            distance = np.abs(np.arange(count)[:, None] - np.arange(count))
            for head, p in enumerate(weights[0]):
                entropy = entr(p).sum(axis=1).mean()
                rows.append((layer, head, float((p * distance).sum(axis=1).mean()), float(np.exp(entropy))))
        columns = ("layer", "head", "mean distance", "places it looks at (e^entropy)")
        return Table(f"Attention of {self.rows[0]}", columns, tuple(rows))

    @property
    def chart(self) -> Chart:
        """The mean over heads of the first and of the last layer, of the first row."""
        selected = dict.fromkeys((0, len(self.layers) - 1))
        panels = tuple(
            Picture("", self.weights[i][0].mean(axis=0), x_title=f"{self.layers[i]}: attends to", y_title="place")
            for i in selected
        )
        return Chart(f"{self.rows[0]}: attention, mean over heads (white: most)", panels, self.text)

    def head_chart(self, layer: int, head: int, row: int = 0) -> Chart:
        """Return the map of one head."""
        title = f"{self.rows[row]}: {self.layers[layer]}, head {head} (white: most)"
        picture = Picture("", self.weights[layer][row, head], x_title="attends to", y_title="place")
        return Chart(title, (picture,), self.text)

    @property
    def text(self) -> str:
        """What the last place attends to most in the last layer, and how exact the maps are."""
        import numpy as np

        p = self.weights[-1][0].mean(axis=0)[-1]
        strongest = np.argsort(-p, kind="stable")[:3]
        listed = ", ".join(f"{self.places[0][i]!r} at {i} ({p[i]:.0%})" for i in strongest)
        return (
            f"Attention of {len(self.layers)} layers with {self.weights[0].shape[1]} heads, recomputed: p·v differs "
            f"from the outputs of the layers by {max(self.differences):.1e} at most. In {self.layers[-1]} the last "
            f"place of {self.rows[0]} attends most to {listed} (mean over heads)."
        )


class AttentionMethod:
    """Attention maps of the transformer family."""

    order = 1

    def suits(self, explained: ExplainedModel) -> bool:
        """Transformers suit."""
        return isinstance(explained.run.experiment.model, Transformer)

    def explain(self, request: Request) -> Attention:
        """Return the attention maps of at most ``MAX_ROWS`` rows.

        Raises:
            LmkitError: the maps of a row do not fit into memory, or do not give the outputs of the layers.
        """
        explained, (X, names, _) = request.explained, request.rows
        X, names = X[:MAX_ROWS], names[:MAX_ROWS]
        spec = explained.run.experiment.model
        assert isinstance(spec, Transformer)
        calls = explained.backend.attention_calls(explained.wrapped, explained.cast(X))
        per_row = len(calls) * spec.heads * calls[0][1].shape[1] ** 2
        count = MAX_WEIGHTS // per_row
        if not count:
            raise LmkitError(
                f"the attention maps of a row are {per_row:,} numbers, expected at most {MAX_WEIGHTS:,}; use "
                "methods=['tokens']"
            )
        X, names = X[:count], names[:count]
        layers, weights, differences = [], [], []
        for layer, inputs, outputs in calls:
            p, mixed = attention_weights(inputs[:count], spec, is_causal=explained.task.per_position)
            difference = float(abs(mixed - outputs[:count]).max() / max(float(abs(outputs[:count]).max()), 1e-300))
            if difference > TOLERANCE:
                raise LmkitError(
                    f"the attention of {layer} is not what the model computes: p·v differs by {difference:.1e} from "
                    "the output of the layer"
                )
            layers.append(layer)
            weights.append(p.astype("float32"))
            differences.append(difference)
        is_text = explained.kind.name == "text"
        places = token_texts(explained, X) if is_text else [tuple(map(str, range(weights[0].shape[-1])))] * len(X)
        return Attention(names, tuple(layers), tuple(weights), tuple(differences), tuple(places))


def attention_weights(x: np.ndarray, spec: Transformer, *, is_causal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return softmax(QKᵀ/√d) (rows, heads, places, places), and the mixture of values (rows, places, width).

    Args:
        x: (rows, places, queries, keys and values of all heads side by side).
        spec: heads, groups of heads that share keys and values, and kind of positions.
        is_causal: whether a place attends to itself and those before it alone.
    """
    import numpy as np

    rows, places, _ = x.shape
    heads, groups, size = spec.heads, spec.groups, spec.head
    x = np.asarray(x, dtype=np.float64).reshape(rows, places, heads + 2 * groups, size).transpose(0, 2, 1, 3)
    q, k, v = x[:, :heads], x[:, heads : heads + groups], x[:, heads + groups :]
    if spec.positions == "rotary":
        cos, sin = turns(places, size)
        q, k = (_rotate(part, cos, sin) for part in (q, k))
    k, v = (np.repeat(part, heads // groups, axis=1) for part in (k, v))
    scores = q @ k.swapaxes(-1, -2) / size**0.5
    if is_causal:
        scores = np.where(np.tril(np.ones((places, places), dtype=bool)), scores, -np.inf)
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p = raised / raised.sum(axis=-1, keepdims=True)
    return p, (p @ v).transpose(0, 2, 1, 3).reshape(rows, places, heads * size)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    import numpy as np

    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


METHODS.add("attention", AttentionMethod())
